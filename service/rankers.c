/* rankers.c - see rankers.h. */
#include "rankers.h"
#include "storage.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

magpie_device rankers_device;

static magpie_status parse_device(const char *value, void *target) {
    return magpie_device_parse(value, target);
}

const option_row rankers_device_options[] = {{.name = "device",
                                              .argument = "D",
                                              .parse = parse_device,
                                              .target = &rankers_device,
                                              .help = "where networks are computed: cpu, a GPU as opencl[:N] "
                                                      "or cuda[:N], or auto: a GPU where there is one "
                                                      "(default: cpu)"},
                                             {0}};

char *rankers_folder(void) { return magpie_path_join(storage_directory(), "ranker"); }

static magpie_status open_on_device(const char *folder, const magpie_ranker_content *content,
                                    magpie_ranker **out) {
    magpie_status status = magpie_ranker_open(folder, content, out);
    if (status == MAGPIE_OK) status = magpie_ranker_use_device(*out, rankers_device);
    if (status == MAGPIE_OK) return MAGPIE_OK;
    magpie_ranker_close(*out);
    *out = NULL;
    return status;
}

magpie_status rankers_open(const char *models, const char *name, bool needed,
                           const magpie_ranker_content *content, magpie_ranker **out) {
    char *folder = magpie_path_join(models, name);
    char *config = folder ? magpie_path_join(folder, "config.json") : NULL;
    magpie_status status = config ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    *out = NULL;
    if (status == MAGPIE_OK && magpie_path_exists(config))
        status = open_on_device(folder, content, out);
    else if (status == MAGPIE_OK && needed)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "there is no model %s in %s: magpie train ranker makes one",
                             name, models);
    free(config);
    free(folder);
    return status;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static magpie_status call(const char *models, const char *name, rankers_callback callback, void *context) {
    struct stat st;
    char *folder = magpie_path_join(models, name);
    magpie_status status = folder ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (folder && stat(folder, &st) == 0 && S_ISDIR(st.st_mode)) status = callback(context, folder, name);
    free(folder);
    return status;
}

magpie_status rankers_each(rankers_callback callback, void *context) {
    struct dirent **entries = NULL;
    char *models = rankers_folder();
    if (!models) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    const int n = scandir(models, &entries, is_visible, alphasort);
    if (n < 0 && errno != ENOENT) status = magpie_fail_errno(errno, "cannot read %s", models);
    for (int i = 0; i < n; i++) {
        if (status == MAGPIE_OK) status = call(models, entries[i]->d_name, callback, context);
        free(entries[i]);
    }
    free(entries);
    free(models);
    return status;
}
