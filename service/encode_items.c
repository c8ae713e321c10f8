/* encode_items.c - see encode_items.h. The encoding is that of an ingest, in ingest/encode.c. */
#include "encode_items.h"
#include "ingest.h"
#include "output.h"
#include "sink.h"
#include "terminal.h"

typedef struct run {
    const encode_items_options *options;
    sink sink;
    size_t skipped;
    double started;
} run;

static magpie_status write_lines(void *context, magpie_string lines) {
    return sink_write_text(&((run *)context)->sink, lines);
}

static bool skip(void *context) {
    run *r = context;
    if (!r->options->skip_bad) return false;
    print_error("%s; left out", magpie_error());
    r->skipped++;
    return true;
}

static bool show_progress(void *context, uint64_t bytes, uint64_t total_bytes, size_t lines) {
    terminal_show_progress(&(terminal_progress){.done = (double)bytes,
                                                .total = (double)total_bytes,
                                                .items = lines,
                                                .seconds = magpie_seconds() - ((run *)context)->started});
    return true;
}

static magpie_status open_encoders(model_sense only, model_encoder out[SENSES]) {
    model_folders folders;
    const char *folder;
    magpie_status status = model_find(&folders);
    if (status == MAGPIE_OK && only != SENSES) status = model_require(&folders, only, &folder);
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        if (folders.of[sense] && (only == SENSES || sense == only))
            status = model_open(folders.of[sense], sense, true, &out[sense]);
    return status;
}

exit_code encode_items(const encode_items_options *options) {
    run r = {.options = options, .started = magpie_seconds()};
    model_encoder opened[SENSES] = {0};
    size_t refused[MAGPIE_MODALITIES];
    const magpie_ingest_options from = {
        .catalogues = &options->catalogue, .catalogue_count = 1, .media_base = options->media_base};
    magpie_status status = magpie_ingest_check(&from); /* a misspelt name should make no output either */
    if (status == MAGPIE_OK) status = open_encoders(options->only, opened);
    if (status == MAGPIE_OK) status = sink_open(&r.sink, SINK_TEXT, options->output, 0);
    const magpie_ingest_encoders encoders = {opened[SENSE_TEXT].text, opened[SENSE_IMAGE].image,
                                             opened[SENSE_AUDIO].audio, NULL};
    const magpie_encode_options how = {
        .from = &from, .write = write_lines, .skip = skip, .progress = show_progress, .context = &r};
    if (status == MAGPIE_OK) status = magpie_ingest_encode(&encoders, &how, refused);
    if (status == MAGPIE_OK) status = sink_finish(&r.sink);
    terminal_clear_progress();
    exit_code code = status == MAGPIE_OK ? EXIT_FINE : print_failure();
    sink_abort(&r.sink);
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) model_close(&opened[sense]);
    return code == EXIT_FINE && (r.skipped || refused[MAGPIE_IMAGE] || refused[MAGPIE_AUDIO]) ? EXIT_MISSING
                                                                                              : code;
}
