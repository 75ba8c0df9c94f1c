# shellcheck shell=sh
# What the scripts share: finding and installing what is
# missing, and building. To be read with `.` by a POSIX shell in the directory
# of the repository.

BUILD=${BUILD:-build}

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# What is needed, one line each: purpose (build, package, system, ...), how to see that it
# is there, what for, and its packages: apt, dnf, apk. The check is a command, or
# a library known to pkg-config (lib:NAME), or a file (file:PATH).
needs()
{
	cat <<-'END'
	build|cc|C compiler|gcc libc6-dev|gcc|build-base
	build|meson|build system|meson|meson|meson
	build|ninja|build system|ninja-build|ninja-build|samurai
	build|pkg-config|finds the libraries|pkg-config|pkgconf-pkg-config|pkgconf
	build|lib:libevent|event loop|libevent-dev|libevent-devel|libevent-dev
	build|llhttp|HTTP parser|@llhttp|llhttp-devel|llhttp-dev
	build|lib:openssl|TLS|libssl-dev|openssl-devel|openssl-dev
	build|lib:libcares|host names|libc-ares-dev|c-ares-devel|c-ares-dev
	build|lib:libconfuse|configuration file|libconfuse-dev|libconfuse-devel|confuse-dev
	build|lib:libpcre2-8|regular expressions of supply rules|libpcre2-dev|pcre2-devel|pcre2-dev
	build|lib:jansson|JSON of supply rules|libjansson-dev|jansson-devel|jansson-dev
	build|lib:libcrypt|passwords (htpasswd)|libcrypt-dev|libxcrypt-devel|libxcrypt-dev
	build|lib:libseccomp|the sandbox's system call filter|libseccomp-dev|libseccomp-devel|libseccomp-dev
	build|lib:libmicrohttpd|the admin listener|libmicrohttpd-dev|libmicrohttpd-devel|libmicrohttpd-dev
	build|lib:libsystemd|sd_notify, socket activation|libsystemd-dev|systemd-devel|
	package|dh|builds Debian packages|debhelper||
	package|dpkg-buildpackage|builds Debian packages|dpkg-dev||
	package|file:/usr/share/pkgconfig/systemd.pc|tells where units go|@systemd||
	package|fakeroot|builds Debian packages|fakeroot||
	system|debootstrap|makes the system in which the service is tested|debootstrap||
	system|systemd-nspawn|boots it|systemd-container||
	system|lintian|checks the package|lintian||
	demo|curl|the client of the demonstration|curl|curl|curl
	fuzz|clang|compiler with libFuzzer|clang libclang-rt-dev|clang compiler-rt|clang compiler-rt
	test|lib:cmocka|unit tests|libcmocka-dev|libcmocka-devel|cmocka-dev
	test|ctags|checks how long functions are|universal-ctags|ctags|ctags
	test|valgrind|counts the instructions of a request|valgrind|valgrind|valgrind
	test|strace|counts the system calls of a request|strace|strace|strace
	monitor|promtool|reads metrics and alert rules|prometheus||prometheus
	monitor|chromium|looks at the admin page|chromium|chromium|chromium
	test|pytest|flow tests|python3-pytest|python3-pytest|py3-pytest
	test|xdist|flow tests side by side|python3-pytest-xdist|python3-pytest-xdist|py3-pytest-xdist
	test|yaml|reads the manifests of conf/|python3-yaml|python3-pyyaml|py3-yaml
	test|curl|a client of the flow tests|curl|curl|curl
	test|openssl|makes the certificates of the tests|openssl|openssl|openssl
	test|wget|a client of the flow tests|wget|wget|wget
	test|cadaver|a WebDAV client of the flow tests|cadaver|cadaver|
	test|litmus|the WebDAV test suite|litmus|litmus|
	test|svn|a client of the flow tests|subversion|subversion|subversion
	test|file:/usr/lib/apache2/modules/mod_dav_svn.so|its server|libapache2-mod-svn||
	test|java|a client of the flow tests|default-jdk-headless|java-devel|openjdk17-jdk
	test|requests|a client of the flow tests|python3-requests|python3-requests|py3-requests
	test|file:/usr/sbin/apache2 /usr/sbin/httpd|a WebDAV server of the flow tests|apache2-bin|httpd|apache2-webdav
	END
}

# The system's Python: it has the system's pytest.
python()
{
	if [ -x /usr/bin/python3 ]; then
		/usr/bin/python3 "$@"
	else
		python3 "$@"
	fi
}

is_there()
{
	case $1 in
	lib:*)	pkg-config --exists "${1#lib:}" 2>/dev/null ;;
	file:*)	for file in ${1#file:}; do [ -e "$file" ] && return 0; done; return 1 ;;
	llhttp)	pkg-config --exists libllhttp 2>/dev/null || [ -e /usr/share/llhttp/llhttp.c ] ;;
	pytest|xdist|yaml|requests)	python -c "import $1" 2>/dev/null ;;
	*)	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 ;;
	esac
}

manager()
{
	for name in apt-get dnf apk; do
		command -v $name >/dev/null 2>&1 && echo $name && return
	done
}

# Lines of `packages|what for` that are missing for these purposes.
missing()
{
	case $(manager) in
	dnf)	column=5 ;;
	apk)	column=6 ;;
	*)	column=4 ;;
	esac
	needs | while IFS='|' read -r purpose check why apt dnf apk; do
		case " $* " in *" $purpose "*) ;; *) continue ;; esac
		is_there "$check" && continue
		packages=$(printf '%s|%s|%s|%s|%s|%s\n' "$purpose" "$check" "$why" "$apt" "$dnf" "$apk" |
			cut -d'|' -f$column)
		[ -n "$packages" ] && printf '%s|%s\n' "$packages" "$why"
	done
	return 0
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		die "installing needs root or sudo; please run as root: $*"
	fi
}

install_apt_get()
{
	as_root apt-get update -q || die "apt-get update failed"
	# Debian 12 has llhttp only as the sources in node-llhttp.
	llhttp=node-llhttp
	apt-cache show libllhttp-dev >/dev/null 2>&1 && llhttp=libllhttp-dev
	# It has systemd.pc in systemd itself.
	systemd=systemd
	apt-cache show systemd-dev >/dev/null 2>&1 && systemd='systemd-dev'
	packages=$(say "$*" | sed "s/@llhttp/$llhttp/; s/@systemd/$systemd/")
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
}

install_dnf()
{
	as_root dnf install -q -y "$@"
}

install_apk()
{
	as_root apk add -q "$@"
}

# Installs what is missing for the purposes named; says what and why.
need()
{
	lines=$(missing "$@")
	[ -n "$lines" ] || return 0
	say "To be installed with the system's package manager:"
	say "$lines" | while IFS='|' read -r packages why; do
		printf '  %-28s %s\n' "$packages" "$why"
	done
	tool=$(manager)
	[ -n "$tool" ] || die "no package manager that I know; please install these by hand"
	# shellcheck disable=SC2046
	"install_$(say "$tool" | tr - _)" $(say "$lines" | cut -d'|' -f1) ||
		die "the packages could not be installed"
}

# build_in DIRECTORY TARGET -- OPTION...: sets up (again, if options changed) and compiles.
build_in()
{
	directory=$1 target=$2
	shift 3
	if [ -e "$directory/build.ninja" ]; then
		meson configure "$directory" "$@"
	else
		meson setup "$directory" "$@"
	fi
	# shellcheck disable=SC2086
	ninja -C "$directory" $target
}

# listening FILE PATTERN: the address in the line that says it, in at most 10 s.
listening()
{
	tries=0
	while [ $tries -lt 100 ]; do
		address=$(sed -n "s|^$2||p" "$1" | head -n 1)
		[ -n "$address" ] && say "$address" && return
		tries=$((tries + 1))
		sleep 0.1
	done
	cat "$1" >&2
	die "nothing listens"
}
