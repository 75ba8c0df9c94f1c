#!/bin/sh
# Budgets: no file over 600 lines unless its opening comment says why it is
# "longer than a room should be" (tests: 1200 lines), no function over 60 lines,
# no line over 110 columns. Rows of tables do not count in functions, and the
# text in strings does not count in columns.
# Usage: check-style.sh [TOP]
set -eu
cd "${1:-$(dirname "$0")/..}"
ctags --version 2>/dev/null | grep -q Universal || { echo "no universal-ctags: skipped"; exit 77; }
files=$(find include proxy tests -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "no files found"; exit 1; }
failed=0

# shellcheck disable=SC2086		# names of ours have no blanks
awk '
function end_of_file() {
	if (lines > (name ~ /^tests/ ? 1200 : 600) && !reason) {
		printf "%s: %d lines, and no word why\n", name, lines
		bad = 1
	}
}
FNR == 1 {
	if (name)
		end_of_file()
	name = FILENAME
	reason = 0
	opening = 1
}
{
	lines = FNR
	if (opening) {
		text = FNR == 1 ? $0 : text " " $0
		gsub(/[ \t]*\*?[ \t]+/, " ", text)
		if (text ~ /longer than a room should be/)
			reason = 1
	}
	if (/\*\//)
		opening = 0
	s = $0
	gsub(/\\"/, "", s)
	gsub(/"[^"]*"/, "\"\"", s)
	gsub(/\t/, "        ", s)
	if (length(s) > 110) {
		printf "%s:%d: %d columns\n", FILENAME, FNR, length(s)
		bad = 1
	}
}
END {
	end_of_file()
	exit bad
}' $files || failed=1

# shellcheck disable=SC2086
ctags -x --c-kinds=f --fields=+ne --_xformat='%F %N %n %e' -f - $files | awk '
NF == 4 && $4 - $3 + 1 > 60 {
	n = $4 - $3 + 1
	for (i = 1; (getline line < $1) > 0; i++)
		if (i > $3 && i < $4 && line ~ /^\t+(row\(|\{ |  "|"|\/\*)/)
			n--
	close($1)
	if (n > 60) {
		printf "%s:%d: %s has %d lines\n", $1, $3, $2, n
		bad = 1
	}
}
END {
	if (!NR) {
		print "ctags found no function"
		bad = 1
	}
	exit bad
}' || failed=1
exit $failed
