#!/bin/sh
# Refuses an include that climbs the stairs, goes from net to http or back, is no
# address (floor/room.h), or brings a library to a floor that must not know it.
# Usage: check-floors.sh [TOP]
set -eu
cd "${1:-$(dirname "$0")/..}"
# shellcheck disable=SC2046		# names of ours have no blanks
awk '
BEGIN {
	may["ground"] = " ground "
	may["net"] = " ground net "
	may["http"] = " ground http "
	may["policy"] = " ground http policy "
	may["exchange"] = " ground exchange "
	may["worker"] = " ground net http policy exchange worker "
	knows["event2/"] = knows["openssl/"] = knows["ares.h"] = " net worker "
	knows["pcre2.h"] = knows["jansson.h"] = " policy worker "
	knows["confuse.h"] = knows["systemd/"] = knows["crypt.h"] = " worker "
}
function refuse(what) {
	printf "%s:%d: floor %s: %s\n", FILENAME, FNR, floor, what
	refused = 1
}
FNR == 1 {
	split(FILENAME, part, "/")
	floor = part[2]
	in_test = part[1] == "tests"
	room = part[3]
	sub(/\.[ch]$/, "", room)
	files++
	if (!in_test && !(floor in may))
		refuse("there is no such floor")
}
!(floor in may) { next }
/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	path = quoted[2]
	if (in_test) {
		if (path !~ /\//)
			next			# a helper beside the test
		gsub(/^(\.\.\/)+((proxy|include|tests)\/)?/, "", path)
	}
	if (path !~ /^[a-z]+\/[a-z0-9_]+\.[ch]$/ || (!in_test && path !~ /\.h$/)) {
		refuse("\"" path "\" is no address")
		next
	}
	split(path, to, "/")
	if (index(may[floor], " " to[1] " ") == 0)
		refuse("may not look at " path)
}
/^[ \t]*#[ \t]*include[ \t]*</ && !in_test {
	split($0, angled, /[<>]/)
	if (angled[2] == "llhttp.h" && floor "/" room != "http/message" &&
	    floor "/" room != "worker/main")
		refuse("llhttp is known in http/message only")
	for (library in knows)
		if (index(angled[2], library) == 1 && index(knows[library], " " floor " ") == 0)
			refuse("may not know <" angled[2] ">")
}
END {
	if (!files) {
		print "no files found"
		exit 1
	}
	exit refused
}' $(find include proxy tests -name '*.[ch]' | sort)
