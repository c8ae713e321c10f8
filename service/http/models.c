/* models.c - GET /v1/models, OpenAI's list; see models.h. */
#include "models.h"
#include "handlers.h"
#include "server.h"

#include <string.h>

static const model_encoder *encoder_of(const served_models *m, magpie_space name) {
    return name == MAGPIE_SPACE_FUSED ? NULL : &m->encoders[name - MAGPIE_SPACE_TEXT];
}

bool models_takes(const served_models *m, magpie_space name, model_sense sense) {
    const model_encoder *encoder = &m->encoders[sense], *own = encoder_of(m, name);
    if (!encoder->name) return false;
    if (own) return own->name && strcmp(own->fingerprint, encoder->fingerprint) == 0;
    return m->fusion && magpie_fusion_get_info(m->fusion)->kind[sense];
}

size_t models_dimension(const served_models *m, magpie_space name) {
    const model_encoder *own = encoder_of(m, name);
    if (own) return own->name ? own->dimension : 0;
    return m->fusion ? magpie_fusion_get_info(m->fusion)->dimension : 0;
}

static void append_model(const served_models *m, magpie_space name, magpie_text *out) {
    const model_encoder *own = encoder_of(m, name);
    const char *known_as = own ? own->name : magpie_fusion_get_info(m->fusion)->name, *comma = "";
    magpie_text_printf(out,
                       "{\"id\": \"%s\", \"object\": \"model\", \"created\": %lld, \"owned_by\": \"magpie\", "
                       "\"dimension\": %zu, \"name\": ",
                       magpie_space_name(name), (long long)(m->opened / 1000), models_dimension(m, name));
    magpie_text_json_string(out, known_as, strlen(known_as));
    magpie_text_printf(out, ", \"takes\": [");
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) {
        if (!models_takes(m, name, sense)) continue;
        magpie_text_printf(out, "%s\"%s\"", comma, model_sense_name(sense));
        comma = ", ";
    }
    magpie_text_printf(out, "]}");
}

/* Encoders first: a program that takes the first one has that of texts. */
http_outcome models_get(http_request *r) {
    const served_models *m = r->view.models;
    const char *comma = "";
    magpie_text out = {0};
    magpie_text_printf(&out, "{\"object\": \"list\", \"data\": [");
    for (unsigned i = 1; i <= MAGPIE_SPACES; i++) {
        const magpie_space name = (magpie_space)(i % MAGPIE_SPACES);
        if (!models_dimension(m, name)) continue;
        magpie_text_printf(&out, "%s", comma);
        append_model(m, name, &out);
        comma = ", ";
    }
    magpie_text_printf(&out, "]}\n");
    return http_answer_json(r, MHD_HTTP_OK, &out);
}
