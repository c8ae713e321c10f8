/* output.h - what the command says: errors in one line, results that are known to have arrived. */
#ifndef MAGPIE_OUTPUT_H
#define MAGPIE_OUTPUT_H

#include "options.h"

/* --json, which most commands have. */
extern bool output_json;
extern const option_row json_options[];

/* "magpie: ..." on standard error, always one line whatever is in it. */
void print_error(const char *format, ...) MAGPIE_PRINTF(1, 2);
/* The last failure of this thread, as it is. */
exit_code print_failure(void);

/* Makes sure that descriptors 0, 1 and 2 are taken (a file of the store must not become standard output),
 * that a reader who leaves is an error and no signal, and that warnings of the library are seen. To be called
 * first. */
void output_begin(void);
/* Writes `text` to standard output and clears it; EXIT_FAILED, in words, where that fails or `text` had no
 * memory. */
exit_code output_text(magpie_text *text);
exit_code output_and_free(magpie_text *text); /* the same, for a text that is done with */
/* At the very end: a result that did not reach its file is no result. */
exit_code output_end(exit_code code);

#endif
