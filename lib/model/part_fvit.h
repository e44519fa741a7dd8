/* Part fViT: images -> landmarks -> patches -> embedding; the model that files hold. Also its grid variant (plain ViT,
 * no CNN), and the ViT alone as a run of self-supervised training leaves it.
 *
 *     struct lafs_model m;
 *     lafs_model_load(&m, &backend, "part.safetensors", err);   // or lafs_model_init + lafs_params_place + _fill
 *     lafs_model_plan(&w, &m, 32, LAFS_MODEL_INFER, &arena, err); ...
 *     lafs_model_forward(&w, &backend, m.params.value, NULL, n, images, NULL, NULL, emb);
 */
#ifndef LAFS_MODEL_PART_FVIT_H
#define LAFS_MODEL_PART_FVIT_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"
#include "compute/tensor.h"
#include "data/stream.h"
#include "format/safetensors.h"
#include "model/mobilenetv3.h"
#include "model/vit.h"

enum lafs_tokens {
    LAFS_TOKENS_LANDMARK = 0, /* patches at the CNN's landmarks */
    LAFS_TOKENS_GRID          /* grid patches: plain ViT, DINO baseline */
};
/* Parts of a model: which parameters it has, which are loaded. */
enum { LAFS_PART_VIT = 1, LAFS_PART_CNN = 2 };

struct lafs_model_config {
    struct lafs_vit_config vit;
    enum lafs_tokens tokens;
    int parts;                /* LAFS_PART_*; grid models have no CNN */
    struct lafs_pixels pixels; /* what images must be: 112, "arcface5", "rgb" */
};
/* Named size, landmark tokens, both parts, the usual pixel contract. */
lafs_status lafs_model_config_named(struct lafs_model_config *c, const char *size, struct lafs_err *err);

struct lafs_model {
    struct lafs_model_config config;
    struct lafs_params params;  /* CNN first, then ViT */
    struct lafs_vit vit;
    struct lafs_cnn cnn;
    struct lafs_st_meta *meta;  /* of the file that was loaded; owned */
    int metas;
};
/* Declares the parameters; no values yet (lafs_params_place, lafs_params_fill). The caller may add more:
 * a classifier. */
lafs_status lafs_model_init(struct lafs_model *m, const struct lafs_model_config *c, struct lafs_err *err);
void lafs_model_release(struct lafs_model *m, const struct lafs_backend *b);

/* -- files (lafs-model(5)) -- */

/* Writes a .safetensors atomically: all of the table's tensors named in it (BatchNorm counters as I64 scalars), and
 * metadata: architecture, tokens, size (where it is a named one), numbers, scale, pixel contract, and the caller's
 * (training provenance, `licence`, `intended_use`; defaults for the latter two are put in when the caller gives none).
 * value: device. */
lafs_status lafs_model_save(const struct lafs_model *m, const struct lafs_backend *b, const float *value,
                            const char *path, const struct lafs_st_meta *meta, int metas, struct lafs_err *err);
/* Initialises m after the file (configuration from the shapes, and from the metadata where shapes do not tell; a
 * contradiction is an error), places and fills it. Names may stand behind `module.`, `backbone.`, `teacher.` in any
 * combination; loss.weight and head.* are skipped, and student.* and dino_loss.* beside teacher.*, as the authors'
 * checkpoints of pretraining have them; anything else unknown, missing, misshapen or there twice is refused by name. */
lafs_status lafs_model_load(struct lafs_model *m, const struct lafs_backend *b, const char *path, struct lafs_err *err);
/* The same, but a model that has a landmark CNN is read and declared without its ViT. */
lafs_status lafs_model_load_cnn(struct lafs_model *m, const struct lafs_backend *b, const char *path,
                                struct lafs_err *err);
/* The same from tensors in memory, which nothing of m points to afterwards. path: for messages. */
lafs_status lafs_model_take(struct lafs_model *m, const struct lafs_backend *b, const struct lafs_st *st,
                            const char *path, struct lafs_err *err);
/* What lafs_model_save would write of a model of these tensors and metadata, entry by entry; value and key are gone
 * afterwards. Values are not looked at. LAFS_USAGE: these are no recogniser's tensors. */
lafs_status lafs_model_describe(const struct lafs_st *st,
                                lafs_status (*say)(void *arg, const char *key, const char *value,
                                                   struct lafs_err *err),
                                void *arg, struct lafs_err *err);
/* Reads `parts` of the table's parameters from another model's file into value (device): what is in it is there
 * already, in the same shape, or refused by name. A ViT of the other kind of tokens, as its metadata says, has its
 * patch embedding turned, since patches are walked in another order: it makes the same of the same patch. */
lafs_status lafs_model_load_parts(const struct lafs_model *m, const struct lafs_backend *b, const char *path, int parts,
                                  float *value, struct lafs_err *err);
/* The same for any table: all of its parameters whose name passes `want` (NULL: all) are read from st, under the
 * prefixes above. path: for messages. */
lafs_status lafs_params_read(const struct lafs_params *ps, const struct lafs_backend *b, const struct lafs_st *st,
                             const char *path, int (*want)(const char *name), float *value, struct lafs_err *err);
int lafs_is_cnn_name(const char *name); /* stn.*, output_layer.* */
/* LAFS_USAGE when images of `have` (a header's contract) do not suit the model, naming the difference. */
lafs_status lafs_model_check_pixels(const struct lafs_model *m, const struct lafs_pixels *have, struct lafs_err *err);
/* What a model that is trained on images of `have` says of its pixels. LAFS_USAGE, with the name of where they are,
 * when they are photos, or of another size: no program would take the model. */
lafs_status lafs_model_take_pixels(struct lafs_model_config *c, const struct lafs_pixels *have, const char *path,
                                   struct lafs_err *err);

/* -- computing -- */

enum lafs_model_mode {
    LAFS_MODEL_INFER = 0, /* no backward; CNN folded: call lafs_model_fold once values are there */
    LAFS_MODEL_VIT_ONLY,  /* backward through the ViT; CNN frozen, eval, folded */
    LAFS_MODEL_TRAIN      /* backward through everything */
};
struct lafs_model_work {
    const struct lafs_model *model;
    int64_t max_images;
    enum lafs_model_mode mode;
    struct lafs_cnn_work cnn;
    struct lafs_vit_work vit;
    struct lafs_seqs seqs;      /* n times R tokens */
    int64_t *off;               /* host, owned */
    int64_t *dev_off;
    const float *images;
    float *landmarks;           /* (n,R,2): of the last forward pass; the caller may read it */
    float *tokens;              /* (n*R, p*p*3) */
    float *dtokens, *dlandmarks;
};
/* Called twice, around lafs_arena_reserve. b: as for lafs_cnn_plan. */
lafs_status lafs_model_plan(struct lafs_model_work *w, const struct lafs_model *m, int64_t max_images,
                            enum lafs_model_mode mode, const struct lafs_backend *b, struct lafs_arena *a,
                            struct lafs_err *err);
void lafs_model_work_release(struct lafs_model_work *w);
/* Before the first forward pass, and whenever values have changed: folds the CNN, unless planned LAFS_MODEL_TRAIN, and
 * does what lafs_vit_weights does, which is enough when the ViT's alone have. */
lafs_status lafs_model_fold(struct lafs_model_work *w, const struct lafs_backend *b, const float *value,
                            struct lafs_err *err);
/* images (n,112,112,3) in [-1,1]; emb (n,D). running, keys, host_keys: as in lafs_cnn_forward and lafs_vit_forward
 * (the same keys serve both). */
void lafs_model_forward(struct lafs_model_work *w, const struct lafs_backend *b, const float *value, float *running,
                        int64_t n, const float *images, const uint64_t *keys, const uint64_t *host_keys,
                        float *emb);
/* demb (n,D); more_dlandmarks (n,R,2) or NULL: gradient that reaches the landmarks otherwise (the regulariser), added;
 * grad +=. Images get no gradient. */
void lafs_model_backward(struct lafs_model_work *w, const struct lafs_backend *b, const float *value, const float *demb,
                         const float *more_dlandmarks, float *grad);

#endif
