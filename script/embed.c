/* embed NAME INPUT OUTPUT: a file as an array of C, for the build. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	FILE *in, *out;
	unsigned long n = 0;
	int c;

	if (argc != 4)
		return 64;
	in = fopen(argv[2], "rb");
	out = fopen(argv[3], "w");
	if (!in || !out) {
		perror(in ? argv[3] : argv[2]);
		return 1;
	}
	fprintf(out, "#include <stddef.h>\n\nextern const unsigned char %s[];\n"
		"extern const size_t %s_size;\n\nconst unsigned char %s[] = {", argv[1], argv[1],
		argv[1]);
	for (; (c = getc(in)) != EOF; n++)
		fprintf(out, "%s%d,", n % 20 ? "" : "\n", c);
	fprintf(out, "\n};\nconst size_t %s_size = sizeof %s;\n", argv[1], argv[1]);
	if (ferror(in) | fclose(in) | ferror(out) | fclose(out)) {
		perror(argv[3]);
		remove(argv[3]);
		return 1;
	}
	return 0;
}
