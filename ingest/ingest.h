/* ingest.h - a job that reads a catalogue, encodes what is new in it, commits, and can be stopped
 * anywhere. The same for lines that come one by one, and a job that does so with interactions: see the end.
 *
 * A CATALOGUE is a file of lines, or what can be read as one (SOURCES, below); a line is one JSON object, an
 * item; all but the id may be absent or null:
 *
 *     {"id": "...", "text": "...", "image": "PATH", "audio": "PATH", "attributes": {...}, "timestamp": ...}
 *
 * id: 1-511 bytes of UTF-8. timestamp: seconds since 1970 (a number) or RFC 3339 (a string). Relative
 * paths are relative to the catalogue's folder. Unknown keys are refused, so that a misspelt one is not
 * lost in silence. Blank lines are passed over.
 *
 * SOURCES. A job has one catalogue or several, which it reads in their order as if they were one; each is, by
 * its name, or as options.format has it:
 *     jsonl    lines as above: whatever has no other name
 *     csv, tsv (.csv, .tsv) RFC 4180, columns named by the first record. Those named id, text, image, audio
 *              and timestamp are that, or options.map says which are: "id=sku,text=title+description" (with
 *              a blank between the two). All others are attributes, or those that the map names,
 *              "attributes=a+b". An empty cell is absent; an attribute that is a number as JSON writes it is
 *              a number.
 *     folder   files below a folder: those of one path without its ending are the item of that id, in order of
 *              ids. A .jpg, .jpeg or .png is its picture; a .wav, .flac, .ogg, .oga, .opus, .mp3, .aiff or
 *              .aif its sound; a .txt its text; a .json an object of attributes, without nulls, whose
 *              "caption" is the text where there is no .txt. Hidden files, other kinds and links to folders
 *              are passed over.
 *     tar      (.tar, .tgz) the same out of an archive, in webdataset's layout: consecutive members KEY.jpg,
 *              KEY.txt, KEY.json are the item KEY, which ends at the first dot of the name's last part.
 *              Nothing is unpacked. item.image is "NAME.tar!/KEY.jpg", which says where it came from, and
 *              which nothing ever opens; whether a picture is the same its bytes say. One of more than
 *              64 MiB is refused.
 * Files may be compressed by gzip, zstd, xz or bzip2: by their first bytes, or .gz, .zst, .xz, .bz2 behind the
 * name. What is not one item (a record with other than the header's number of cells, two pictures of one name)
 * is rejected as a bad line is. A file that is cut off or damaged ends the job (MAGPIE_E_CORRUPT, naming it):
 * what was whole before that place is in, committed.
 *
 * VECTORS. An item gets one for each modality that it has and that there is an encoder for: of its text in
 * the text space, of its picture in the image space, of its sound in the audio space. And one in the fused
 * space, out of all of these by the fusion (encoders.h, "one space"), be they new or in the store from
 * before; so it changes when one of them does. The fused space is bound to the fusion, its weights included.
 * Without heads, the fused vector is the text's: then an item without text has none, and is found in the
 * other spaces alone. An item for which there is nothing to encode is kept without vectors.
 *
 * WHAT IS DONE TWICE. Nothing that was committed is encoded again, modality by modality: a line whose
 * content is in the store is skipped, one that differs in its attributes or timestamp alone keeps its
 * vectors, and another text leaves the vectors of picture and sound as they are, bit for bit. A job that
 * was killed goes on where its last commit was, and a whole second run is only a reading of the catalogue,
 * and a stat of every picture and sound: one is taken to be the same while the line names it alike and the
 * file's size and time of change (to the nanosecond) are what they were, so that one that was replaced
 * under its name is encoded anew, and a catalogue with relative paths may move with its files. The passage
 * prefix of the text encoder counts as content: with another one, all texts are encoded anew. So do the
 * seconds of a sound that the audio encoder hears. The models need not be compared: a space is bound to
 * one for good.
 *
 * ENCODERS THAT ARE NOT GIVEN. Vectors of their space are left as they are, while the line has the same
 * text, or names the same file (which is not looked at), and go into the fused one. Where it has another or
 * none, the vector goes, for it would be that of something else. A later run with the encoder finds what is
 * missing, and computes that alone: so a store that was filled with texts gets its pictures and sounds by one
 * more run.
 *
 * LABELS. Models of labels (encoders.h, "learned labels") tell an attribute to items that lack it: whose line
 * has none, or null. Where the item has a vector in the model's space, and the likeliest label is likely
 * enough, the attribute NAME is that label (of a model of level 1, "a" of paths "a/b"), and NAME_probability
 * beside it what it is thought to be true with, to four digits. Of several models for one attribute the first
 * that is sure enough tells it. What a line has of NAME is never touched. What is told depends on line,
 * vectors and models alone: so a second run finds all of it unchanged, a run with another model or another
 * least probability tells anew what would be told otherwise, items of before included, and one without the
 * model keeps what was told, while the line is the same.
 *
 * PICTURES AND SOUNDS THAT CANNOT BE READ OR DECODED cost their item nothing else. What else it has is
 * encoded, the item is stored, item.problems says "image: WHY" or "audio: WHY", and a line in the rejects
 * file does: {"line", "id", "modality": "image" or "audio", "kept": true, "reason"} ("kept": the item is;
 * a line of a rejected one has no "modality"). Where both are bad, item.problems has two lines, the
 * picture's first, a newline between them and none in a WHY; each goes when its own file is repaired,
 * replaced or no longer named. Every run that has the encoder and meets the item says so again, but the
 * file is tried again only when it has changed or appeared, or the system had refused to read it.
 *
 * GOING ON. Each transaction holds a checkpoint beside its items. It is used where the path, size, inode and
 * time of change of each catalogue (of a folder: the names of its files) are what they were; a catalogue that
 * was changed, and a pipe, are read from the start, which costs reading alone; so is it by a run with other
 * encoders. What is no plain file of lines is read up to that place, too. The last transaction
 * removes it. An item that is deleted, or a file that is replaced, between the stopped run and the one
 * that goes on is not put back, or encoded anew, by the latter, but by the next.
 *
 * BAD LINES (broken JSON or UTF-8, no id or an over-long one, over 1 MiB) go to a rejects file, one JSON
 * object a line: {"line", "reason", "id"?, "start": the first bytes of the line}, with "catalogue" where there
 * are several ("line" counts records or items where a catalogue has no lines); the job goes on. A run
 * that goes on from a checkpoint appends to the file, any other replaces it.
 *
 * THE SAME ID TWICE in one catalogue: the first line that can be read counts. A later one with the same
 * content is passed over as unchanged, one with other content is rejected. So a second run finds
 * everything unchanged, wherever the first one was stopped. Costs 11 to 22 bytes of memory a line.
 *
 * WHAT THE CATALOGUE NO LONGER HAS. With options.delete_missing, items whose ids are on no line of the catalogue are
 * deleted once it was read to its end. None is where that would be a guess: a line was rejected whose id could
 * not be read, or no line was an item at all. Then progress.not_deleted says so.
 *
 * TRUST. A job reads the files that its catalogue names, wherever they are: a catalogue from elsewhere is
 * to be looked through first. What is no regular file is never opened. */
#ifndef MAGPIE_INGEST_H
#define MAGPIE_INGEST_H

#include "core.h"
#include "encoders.h"
#include "index.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MAGPIE_LINE_MAX = 1 << 20,      /* bytes of a catalogue's line */
    MAGPIE_DATA_LINE_MAX = 16 << 20 /* of one with vectors, or with pictures and sounds as data: URLs */
};

/* One line, parsed. Everything points into the line's own memory, which magpie_catalogue_line_free gives
 * back, and ends with a NUL that its size does not count. A text that is "" has data, one that is absent has
 * none. */
typedef struct magpie_catalogue_line {
    /* Attributes as compact JSON with sorted keys. Hashes of the content, and of the text for the text
     * space; none of a picture or a sound: that is its file's, which is not looked at. */
    magpie_item item;
    void *memory;
} magpie_catalogue_line;

/* MAGPIE_E_INPUT or MAGPIE_E_TOO_LARGE with the reason in words; where the id could be read, out->item.id has
 * it even then, and _free is due in any case. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_parse(const char *line, size_t size,
                                                         magpie_catalogue_line *out);
void magpie_catalogue_line_free(magpie_catalogue_line *line);

/* The path of the file that a reference of `catalogue` names ("-": relative to the current folder), to be
 * freed with free(); NULL with the message set. */
MAGPIE_CHECK_RESULT char *magpie_catalogue_resolve(const char *catalogue, magpie_string reference);

/* MEDIA AS DATA. What is only to be encoded, and not stored, may have its pictures and sounds as data:
 * URLs (core.h) in place of paths; a catalogue for a store is refused with these. This parses such lines,
 * of up to MAGPIE_DATA_LINE_MAX bytes. bytes [MAGPIE_MODALITIES] are what a URL has, to be freed with
 * free() whatever comes of the line; NULL: there is a path, or nothing. The item refers to it by the URL's
 * parameter "name", in which %XX stands for what may not stand there; with `named`, it is MAGPIE_E_INPUT
 * that there is none. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_parse_data(const char *line, size_t size, bool named,
                                                              magpie_catalogue_line *out,
                                                              magpie_string bytes[MAGPIE_MODALITIES]);

/* Whether a reference is to what is in an archive: it names no file. */
bool magpie_catalogue_is_archived(magpie_string reference);

/* What an ingest encodes with. Each of the first three may be NULL, not all. They stay the caller's. */
typedef struct magpie_ingest_encoders {
    magpie_text_encoder *text;
    magpie_image_encoder *image;
    magpie_audio_encoder *audio;
    const magpie_fusion *fusion; /* NULL: what magpie_ingest_open_fusion gives without heads */
} magpie_ingest_encoders;

/* The space that an encoder of a modality fills. */
magpie_space magpie_space_of_modality(magpie_modality modality);

/* The fusion of a store.
 *     directory   of the heads; NULL: none. Then texts and pictures of one joint model are fused as they are,
 *                 else the fused vector is the text's, and *out is NULL where there is no text either.
 *     sources     what fills the modalities, checked against the heads (MAGPIE_E_MISMATCH); dimension 0: not
 *                 known
 *     fused       the store's binding of its fused space; NULL: there is no store yet. The weights are those
 *                 that its vectors were made with, where they were by these heads; and where they are the
 *                 text's, they stay so. */
MAGPIE_CHECK_RESULT magpie_status
magpie_ingest_open_fusion(const char *directory, const magpie_modality_source sources[MAGPIE_MODALITIES],
                          const magpie_space_binding *fused, magpie_fusion **out);

/* What the name of an attribute that was told has behind it, beside it: see LABELS. */
#define MAGPIE_PROBABILITY_SUFFIX "_probability"

/* What those lines of item.problems begin with that speak of the picture, and of the sound. */
#define MAGPIE_IMAGE_PROBLEM "image: "
#define MAGPIE_AUDIO_PROBLEM "audio: "

enum { MAGPIE_JOB_ID = 8 /* bytes of a job's id */ };

struct magpie_vector_input; /* see "vectors in and out" */

typedef struct magpie_ingest_progress {
    size_t lines; /* read, in this run */
    /* Of these, those that are done with: of the lines that are being encoded a part, by the work that is done. */
    size_t lines_done;
    size_t encoded; /* items committed with vectors that this run computed */
    /* Items committed without: their attributes changed, or there was nothing to encode. Where a modality was
     * taken away, their fused vector is another all the same. */
    size_t updated;
    size_t unchanged;        /* items that were in the store already */
    size_t rejected;         /* lines of the catalogue: with those of the run that this one goes on from */
    size_t committed;        /* items made durable by this run: encoded + updated */
    size_t deleted;          /* items that the catalogue no longer has, by this run */
    const char *not_deleted; /* why nothing was, though it was to be; NULL else */
    /* Pictures and sounds: computed, of items in `encoded`; and refused, of items that are kept, with
     * those of the run that this one goes on from and those that were refused by an earlier one and are as
     * they were. */
    size_t pictures_encoded, pictures_refused, sounds_encoded, sounds_refused;
    size_t passed_over;          /* files of a folder or an archive that are of no kind of an item's */
    uint64_t bytes, total_bytes; /* of the catalogues, compressed; total 0: not known (a pipe, a folder) */
    double seconds;              /* since the start of this run */
    double text_seconds, image_seconds, audio_seconds; /* of these, where the time went */
    double commit_seconds;                             /* beside these, on another thread */
    double waited_seconds;                             /* of these, for a commit to end */
    char job[MAGPIE_JOB_ID + 1];                       /* "" until the job has begun */
    size_t resumed_at; /* lines skipped because an earlier run had committed them; 0: from the start */
} magpie_ingest_progress;

/* What a catalogue is: see SOURCES. */
typedef enum magpie_catalogue_format {
    MAGPIE_CATALOGUE_BY_NAME,
    MAGPIE_CATALOGUE_JSONL,
    MAGPIE_CATALOGUE_CSV,
    MAGPIE_CATALOGUE_TSV,
    MAGPIE_CATALOGUE_FOLDER,
    MAGPIE_CATALOGUE_TAR
} magpie_catalogue_format;

/* "auto", "jsonl" and so on. MAGPIE_E_ARGUMENT names them all. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_format_parse(const char *name,
                                                                magpie_catalogue_format *out);

typedef struct magpie_ingest_options {
    const char *const *catalogues; /* [catalogue_count], 1 at least: paths, or "-" for standard input */
    size_t catalogue_count;
    magpie_catalogue_format format; /* of them all */
    const char *map;                /* of their columns, where they have some; NULL: none */
    const char
        *media_base; /* "DIR/": what relative references are relative to; NULL: each catalogue's folder */
    size_t line_max; /* bytes; 0 for MAGPIE_LINE_MAX */
    /* The catalogues, as lines with vectors that are stored as they are in place of encoders: see "vectors in and
     * out". NULL: encoders encode. */
    struct magpie_vector_input *vectors;
    const char *rejects; /* a path; NULL: none is written. Made when there is the first line for it. */
    size_t commit_items; /* a transaction; 0 for 256 */
    const char *note;    /* JSON that the job's record keeps as "command"; NULL: nothing */
    /* Lines, pictures and sounds are read and decoded, and nothing is encoded or written but the rejects: the counters
     * say what would be. The store may be open for reading alone. Of an id that comes twice, far from each other, the
     * second is taken to say the same. */
    bool dry_run;
    size_t
        batch_bytes; /* of lines, and of media out of archives, that wait for a transaction; 0 for 16 MiB */
    bool wait;       /* until no other job fills the store; else that is MAGPIE_E_BUSY */
    bool delete_missing; /* see WHAT THE CATALOGUE NO LONGER HAS */
    /* See LABELS. MAGPIE_E_MISMATCH, naming both models, before anything is done, where one was not learned
     * on the vectors that its space is filled with. */
    const magpie_labels *const *labels; /* [label_count] */
    size_t label_count;
    double labels_least; /* probability that is likely enough */
    /* Called after each commit and some times a second between; false stops the job after what is durable,
     * with MAGPIE_E_CANCELLED. NULL: none. */
    bool (*progress)(void *context, const magpie_ingest_progress *progress);
    /* Called once for each item that this run wrote, when it is durable; on another thread than the caller's, for
     * one item at a time. NULL: none. */
    void (*acknowledge)(void *context, magpie_string id);
    void *context;
} magpie_ingest_options;

/* Whether the catalogues can be read: opens each, but for standard input, and reads its header. So that a misspelt
 * name can be told before anything is made. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_check(const magpie_ingest_options *options);

/* Runs the job to its end. The text encoder fills the text space, the image encoder the image space, the
 * audio encoder the audio space, the fusion the fused one; the store's spaces are bound to them first, and
 * each is refused (MAGPIE_E_MISMATCH, naming both models) where another one filled its space; so is a
 * fusion whose heads were trained on others than the store's. A space that is given to another model while
 * the job runs ends it. `report` (may be NULL) is filled in any case. The vector indexes are not touched:
 * magpie_index_refresh takes the new items in. MAGPIE_E_NO_SPACE: what was committed stays; run again when
 * there is room. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_run(magpie_store *store,
                                                    const magpie_ingest_encoders *encoders,
                                                    const magpie_ingest_options *options,
                                                    magpie_ingest_progress *report);

/* ---- jobs ---- */

/* A JOB is one run of magpie_ingest_run, or several over one catalogue, up to the one that comes to its end. It has an id, and
 * the store keeps a record of it: JSON, written in the transaction of the items that it counts. Those of the last
 * hundred are kept. One job at a time fills a store; services and other commands may write beside it.
 *     {"id", "state": "running", "stopped", "failed", "cancelled" or "done", "why": words or null,
 *      "catalogue": its path, null for a pipe, "started", "updated": milliseconds since 1970, "runs", "seconds",
 *      "lines", "encoded", "changed", "unchanged", "deleted", "rejected", "pictures", "sounds",
 *      "checkpoint": its name, "command": options.note}
 * "stopped" is one whose process was killed or interrupted: run again, it goes on. So does a "failed" one. */

/* Appends the records, a line each, the newest first. */
MAGPIE_CHECK_RESULT magpie_status magpie_jobs_list(magpie_store *store, magpie_text *out);
/* *runs: the job is told to end, and does so after its next transaction, with MAGPIE_E_CANCELLED. Else it is
 * cancelled: its checkpoint is forgotten. What it has stored stays. MAGPIE_E_NOT_FOUND; MAGPIE_E_ARGUMENT where it
 * is over. */
MAGPIE_CHECK_RESULT magpie_status magpie_job_cancel(magpie_store *store, const char *id, bool *runs);

/* ---- lines that come one by one ---- */

/* A SESSION takes in items as a service gets them: by the rules above, but that the last line of an id counts,
 * and replaces what the store has. So the same line again is unchanged, another text is encoded alone, and so on.
 * No set of ids grows with it; there is no checkpoint and no rejects file. A line that is put waits until the
 * flush, which encodes all together and commits them in one transaction: some hundred are a good number. Where
 * an id comes that is waiting already, what waits is committed first.
 *
 * A call that fails has forgotten all that was put since the last flush, and what of it was committed already
 * may be put again. Then the session may go on, but for MAGPIE_E_MISMATCH: where a space has come to be another
 * model's (magpie_store_rebind), another session is to be opened with that one. A session belongs to one thread
 * at a time. */
typedef struct magpie_ingest_session magpie_ingest_session;

typedef enum magpie_ingest_verdict {
    MAGPIE_INGEST_CREATED,
    MAGPIE_INGEST_UPDATED,
    MAGPIE_INGEST_UNCHANGED, /* the store had it all */
    MAGPIE_INGEST_REFUSED    /* nothing of it is stored */
} magpie_ingest_verdict;

/* How one line fared. Strings end with a NUL that their size does not count. */
typedef struct magpie_ingest_answer {
    magpie_string id; /* empty where it could not be read */
    magpie_ingest_verdict verdict;
    magpie_status status; /* why it was refused: MAGPIE_E_INPUT, _TOO_LARGE, or _NOT_FOUND for a patch */
    magpie_string words;  /* the same in words; of an item that is stored item.problems, empty: none */
} magpie_ingest_answer;

/* Of `options`, the first catalogue and labels alone count: it need not be there, relative references are
 * relative to its folder. The encoders may all be NULL: see ENCODERS THAT ARE NOT GIVEN. They stay the caller's,
 * as do labels and fusion. Spaces are bound as by magpie_ingest_run. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_session_open(magpie_store *store,
                                                             const magpie_ingest_encoders *encoders,
                                                             const magpie_ingest_options *options,
                                                             magpie_ingest_session **out);
/* A line of a catalogue, with or without its newline. MAGPIE_OK for one that is refused, too: the answer says so. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_session_put(magpie_ingest_session *session, const char *line,
                                                            size_t size);
/* Changes an item's attributes by a JSON merge patch of them (RFC 7396: null removes). All else stays as it is,
 * vectors bit for bit: nothing is encoded, and no file is looked at. Afterwards the item is as if its line had had
 * these attributes, those that labels had told included. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_session_patch(magpie_ingest_session *session,
                                                              magpie_string id, const char *patch,
                                                              size_t size);
/* Makes all of it durable. answers [count], one for each put and patch since the last flush, in their order;
 * valid until the next call. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_session_flush(magpie_ingest_session *session,
                                                              const magpie_ingest_answer **answers,
                                                              size_t *count);
/* What was not flushed is not stored. */
void magpie_ingest_session_close(magpie_ingest_session *session);

/* ---- vectors in and out ---- */

/* VECTOR LINES are how vectors go from one machine to another, or out of a store and into one: JSON lines,
 * of which the first, the header, says what the vectors are of,
 *
 *     {"magpie": "vectors", "version": 1, "spaces": {"text": {"model": NAME, "fingerprint": HEX,
 *                                                             "dimension": 384, "salt": HEX}, ...}}
 *
 * for any of text, image and audio, and each other is a catalogue's line with some members more:
 *
 *     "vectors": {"text": V, ...}        V is base64 of little-endian f32, or an array of numbers; unit length
 *     "refused": {"image": WHY, ...}     there is none, since the picture or sound could not be read
 *     "hashes": {"image": HEX, ...}      encoded_hash and, as "content", content_hash of the item (index.h), where they
 *                                        are not to be those of line and file
 *
 * salt: what the encoder's settings make of the hashes. Such files may be put one behind the other: a
 * header in the middle has to be the same. Lines may have up to MAGPIE_DATA_LINE_MAX bytes.
 *
 * WHAT COMES OF THEM in a store is, item by item and bit by bit, what an ingest of the catalogue with the
 * encoders of the header makes there: files are looked at for their size and time alone, the fused vectors
 * are made anew, and checkpoint, rejects and all else are as in an ingest. A line without a vector of its
 * text, say, is ingested as without an encoder of texts. A vector of what the line does not have is
 * refused.
 *
 * OF OTHERS: a file without a header, in which models are given a name, which is then their fingerprint; and
 * rows of .npy files in place of "vectors", row n for line n (all NaN: none). */
typedef struct magpie_vector_source {
    char model[128], fingerprint[128];
    size_t dimension; /* 0: there are none of this space */
    uint64_t salt;
} magpie_vector_source;

typedef struct magpie_vector_header {
    magpie_vector_source of[MAGPIE_SPACES]; /* the fused one is empty */
} magpie_vector_header;

void magpie_vector_header_describe(const magpie_ingest_encoders *encoders, magpie_vector_header *out);
/* Appends the line, newline included. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_header_write(const magpie_vector_header *header,
                                                             magpie_text *out);
/* The same for an item with these vectors (NULL: none; all of it NULL: a catalogue's line). with_hashes:
 * all of them, and not just those of files that are to be tried again (0, with a problem). */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_line_write(const magpie_item *item,
                                                           const float *const vectors[MAGPIE_SPACES],
                                                           const magpie_vector_header *header,
                                                           bool with_hashes, magpie_text *out);

/* What vectors are read from, for one job. */
typedef struct magpie_vector_input magpie_vector_input;

typedef struct magpie_vector_input_options {
    const magpie_ingest_options *from; /* catalogues, format and map alone are looked at, and have to last */
    const char
        *names[MAGPIE_SPACES]; /* models of a file without a header; NULL: there are none of this space */
    const char *npy[MAGPIE_SPACES]; /* of which lines in a file have the items */
    bool normalise;                 /* make vectors unit length that are not */
} magpie_vector_input_options;

/* Reads as far as the header. MAGPIE_E_MISMATCH: a .npy with another number of rows than the file has
 * lines. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_open(const magpie_vector_input_options *options,
                                                           magpie_vector_input **out);
const magpie_vector_header *magpie_vector_input_get_header(const magpie_vector_input *input);
void magpie_vector_input_close(magpie_vector_input *input);

/* ENCODING WITHOUT A STORE: a catalogue, whose pictures and sounds may be data: URLs with names, to vector
 * lines. All is encoded that there is an encoder for. */
typedef struct magpie_encode_options {
    const magpie_ingest_options *from; /* catalogues, format, map and media_base alone are looked at */
    /* Takes some lines; any status but MAGPIE_OK ends the run. */
    magpie_status (*write)(void *context, magpie_string lines);
    /* Of a bad line, with its words in magpie_error(); true leaves it out. NULL: the first ends the run. */
    bool (*skip)(void *context);
    /* After each write, with the catalogue's bytes and lines that were read; false stops. NULL: none. */
    bool (*progress)(void *context, uint64_t bytes, uint64_t total_bytes, size_t lines);
    void *context;
} magpie_encode_options;

MAGPIE_CHECK_RESULT magpie_status magpie_ingest_encode(const magpie_ingest_encoders *encoders,
                                                       const magpie_encode_options *options,
                                                       size_t refused[MAGPIE_MODALITIES]);

/* ---- fusing anew ---- */

typedef struct magpie_fuse_progress {
    size_t items; /* that the store had when it began */
    size_t fused; /* given another vector, or their first */
    size_t kept;  /* whose vector was right already */
    size_t bare;  /* with nothing that could be fused */
    double seconds;
} magpie_fuse_progress;

typedef struct magpie_fuse_options {
    size_t commit_items; /* a transaction; 0 for 1024 */
    /* Called after each commit; false stops with MAGPIE_E_CANCELLED. NULL: none. */
    bool (*progress)(void *context, const magpie_fuse_progress *progress);
    void *context;
} magpie_fuse_options;

/* Makes all fused vectors anew, with other heads or other weights, out of the vectors that the store has:
 * nothing is encoded. The fused space is given to the fusion first (magpie_store_rebind), which forgets its
 * vectors, then they are made, in order of row, so many a transaction. What is killed on its way is
 * finished by running it again, or by an ingest with this fusion; a search until then finds what has been
 * fused. Items that others put or delete meanwhile stay as those left them. A second run has nothing to do
 * and writes nothing. `report` (may be NULL) is filled in any case. The vector indexes are not touched:
 * magpie_index_open builds the new one. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_fuse(magpie_store *store, const magpie_fusion *fusion,
                                                     const magpie_fuse_options *options,
                                                     magpie_fuse_progress *report);

/* ---- importing interactions ---- */

/* A FILE OF INTERACTIONS (index.h) is one of lines, in one of these formats. Ids are text, and where JSON has
 * a whole number, its digits. A weight that is left out is 1, a time 0 (not known); a time is a number of
 * seconds, of milliseconds where it is more than 1e11, or RFC 3339. Blank lines are passed over.
 *     csv, tsv   the first line names the columns, in any order: user or user_id, item or item_id, and maybe
 *                kind, weight or rating, time or timestamp; others are passed over. Fields may be quoted as
 *                RFC 4180 has it, within a line.
 *     jsonl      {"user", "item", "kind"?, "weight"?, "time"?}, or by the other names; no other keys
 *     inter      RecBole's: a tsv whose columns are named "user_id:token"; nothing is quoted
 *     rating     the NCF repository's .train.rating and .test.rating: user, item, rating, seconds; no names
 *     negative   its .test.negative: "(user,item)" and ids of items that were never touched, with tabs
 *                between; the pair is the interaction
 *
 * GOING ON, BAD LINES and the rejects file are as in an ingest; "id" there is the user's. Of several lines
 * with one user, item and kind the last counts. A second run writes what is there already once more. */
typedef enum magpie_import_format {
    MAGPIE_IMPORT_BY_NAME, /* .csv, .tsv, .jsonl, .ndjson, .json, .inter, .rating, .negative */
    MAGPIE_IMPORT_CSV,
    MAGPIE_IMPORT_TSV,
    MAGPIE_IMPORT_JSONL,
    MAGPIE_IMPORT_INTER,
    MAGPIE_IMPORT_RATING,
    MAGPIE_IMPORT_NEGATIVE
} magpie_import_format;

/* A time as these files have it, in milliseconds: a number, and words, which may be a number's. MAGPIE_E_INPUT. */
MAGPIE_CHECK_RESULT magpie_status magpie_import_time(double time, int64_t *millis);
MAGPIE_CHECK_RESULT magpie_status magpie_import_time_parse(magpie_string words, int64_t *millis);

/* "csv" and so on, as above. MAGPIE_E_ARGUMENT names them all. */
MAGPIE_CHECK_RESULT magpie_status magpie_import_format_parse(const char *name, magpie_import_format *out);

typedef struct magpie_import_progress {
    size_t lines;                /* read, in this run, with the one that names columns */
    size_t interactions;         /* made durable by this run */
    size_t rejected;             /* lines: with those of the run that this one goes on from */
    uint64_t bytes, total_bytes; /* of the file; total 0: not known (a pipe) */
    double seconds, commit_seconds;
    size_t resumed_at; /* lines skipped because an earlier run had committed them; 0: from the start */
} magpie_import_progress;

typedef struct magpie_import_options {
    const char *path; /* or "-" for standard input, which needs a format */
    magpie_import_format format;
    /* Of lines that name none. MAGPIE_INTERACTION_KINDS: a rating where there is a column of that name, and
     * in the NCF repository's files; a view elsewhere. */
    magpie_interaction_kind kind;
    const char *rejects; /* a path; NULL: none is written. Made when there is the first line for it. */
    size_t commit_lines; /* a transaction; 0 for 262,144: less only costs time */
    /* Called after each commit and some times a second between; false stops the job after what is durable,
     * with MAGPIE_E_CANCELLED. NULL: none. */
    bool (*progress)(void *context, const magpie_import_progress *progress);
    void *context;
} magpie_import_options;

/* Runs the job to its end. `report` (may be NULL) is filled in any case. */
MAGPIE_CHECK_RESULT magpie_status magpie_import_run(magpie_store *store, const magpie_import_options *options,
                                                    magpie_import_progress *report);

#ifdef __cplusplus
}
#endif
#endif
