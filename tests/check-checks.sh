#!/bin/sh
# Are the checks worth anything? Plants one violation after the other in a copy
# of the sources: each must be refused with the name of the file.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT INT TERM
cp -R "$top/include" "$top/proxy" "$copy"
mkdir "$copy/tests"
failed=0

# plant CHECK FILE TEXT WORDS: TEXT goes to the end of FILE, and CHECK must say WORDS.
plant() {
	cp "$copy/$2" "$copy/kept"
	printf '%b\n' "$3" >>"$copy/$2"
	status=0
	said=$("$top/tests/check-$1.sh" "$copy" 2>&1) || status=$?
	mv "$copy/kept" "$copy/$2"
	if [ $status = 77 ]; then
		echo "$1: skipped"
	elif [ $status != 1 ] || ! echo "$said" | grep -q "^$2:.*$4"; then
		echo "check-$1 does not see $2: $3 ($status: $said)"
		failed=1
	fi
}

plant floors proxy/ground/str.c '#include "net/conn.h"' 'floor ground: may not look at net/conn.h'
plant floors proxy/net/conn.c '#include "http/url.h"' 'floor net: may not look at http/url.h'
plant floors proxy/http/url.c '# include  "net/conn.h"' 'floor http: may not look at net/conn.h'
plant floors include/policy/rules.h '#include "net/conn.h"' 'floor policy: may not look at net/conn.h'
plant floors include/exchange/exchange.h '#include "policy/rules.h"' 'floor exchange'
plant floors proxy/policy/rules.c '#include "worker/config.h"' 'floor policy'
plant floors proxy/http/url.c '#include "../net/conn.h"' 'is no address'
plant floors proxy/http/url.c '#include <event2/event.h>' 'may not know <event2/event.h>'
plant floors proxy/http/url.c '#include <llhttp.h>' 'llhttp is known in'
plant floors proxy/policy/rules.c '#include <openssl/ssl.h>' 'may not know'

long=$(printf '%0111d' 0)
body=$(awk 'BEGIN { for (i = 0; i < 60; i++) printf "\\tf();\\n" }')
file=$(awk 'BEGIN { for (i = 0; i < 601; i++) printf "int i%d;\\n", i }')
plant style proxy/ground/why.c "// $long" 'columns'
plant style proxy/ground/why.c "static void f(void)\n{\n$body}" 'f has 63 lines'
plant style proxy/ground/why.c "$file" 'lines, and no word why'
exit $failed
