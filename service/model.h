/* model.h - the options by which a command is told its models, and the encoders and the fusion that they
 * give.
 *
 * A SET of models is a folder without a config.json that has any of the folders text/, image/, audio/ and
 * fusion/ in it, each a model of its own: so one --model names all that a store was made with. */
#ifndef MAGPIE_MODEL_H
#define MAGPIE_MODEL_H

#include "encoders.h"
#include "options.h"

/* --model, --image-model, --audio-model, --fusion-model, --precision, --device, --threads */
extern const option_row model_options[];
magpie_status model_parse_precision(const char *value, void *target); /* to a magpie_precision */
extern const option_row audio_seconds_options[], passage_prefix_options[], query_prefix_options[];

/* What can be encoded. */
typedef enum model_sense { SENSE_TEXT, SENSE_IMAGE, SENSE_AUDIO, SENSES } model_sense;

/* "text", "image", "audio": in answers, and as the values of options. */
const char *model_sense_name(model_sense sense);
/* The sense of that name; SENSES: none is called so. */
model_sense model_sense_find(const char *name);
/* What it is of, in sentences: "text", "pictures", "sounds". */
const char *model_sense_things(model_sense sense);
bool model_has_sense(const magpie_model_senses *senses, model_sense sense);

/* Which folder encodes what, brings it together, or has labels; NULL: none does. They last as long as the
 * process. */
typedef struct model_folders {
    const char *of[SENSES];
    const char *fusion, *labels;
} model_folders;

/* --model (else MAGPIE_MODEL) is a set, or the model of texts, of pictures, of sounds, or of several, as it
 * has these senses; --image-model (else MAGPIE_IMAGE_MODEL) goes before it for pictures, --audio-model
 * (else MAGPIE_AUDIO_MODEL) for sounds, --fusion-model (else MAGPIE_FUSION_MODEL) for what brings them
 * together. Fails where nothing encodes, or one cannot be read. */
MAGPIE_CHECK_RESULT magpie_status model_find(model_folders *out);
/* The same, and it is fine to be given none. */
MAGPIE_CHECK_RESULT magpie_status model_find_any(model_folders *out);
/* The folders of one set or model; fails where `directory` is neither. */
MAGPIE_CHECK_RESULT magpie_status model_find_in(const char *directory, model_folders *out);
/* The folder of one sense; fails where none is given, naming the option that does. */
MAGPIE_CHECK_RESULT magpie_status model_require(const model_folders *folders, model_sense sense,
                                                const char **out);

/* An open encoder of whichever sense. */
typedef struct model_encoder {
    magpie_text_encoder *text; /* one of these three */
    magpie_image_encoder *image;
    magpie_audio_encoder *audio;
    const char *name, *fingerprint; /* as long as it is open; NULL: it is not */
    size_t dimension;
    unsigned threads;
} model_encoder;

/* How many threads encode, as the options say. */
unsigned model_threads(void);
/* What the pixels of a picture may take, for encoders that are opened from now on (encoders.h: picture_bytes). */
void model_limit_pictures(size_t bytes);
/* As the options say. */
MAGPIE_CHECK_RESULT magpie_status model_open(const char *folder, model_sense sense, bool defer_weights,
                                             model_encoder *out);
/* Encoders that are opened from here on have no teams (encoders.h): others want the CPUs too. */
void model_without_teams(void);
void model_close(model_encoder *encoder);
/* Heads, on the device that the options say. */
MAGPIE_CHECK_RESULT magpie_status model_place(magpie_fusion *fusion);
/* Files of pictures or sounds, for an encoder of these: as magpie_image_encoder_encode. */
MAGPIE_CHECK_RESULT magpie_status model_encode_files(const model_encoder *encoder, const magpie_media *files,
                                                     size_t n, float *out, magpie_outcome *outcomes);

#endif
