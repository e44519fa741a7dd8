/* Model files: what is saved is loaded; what does not fit is refused by name. */
#include "tests/test.h"

#include <unistd.h>

#include "compute/tensor.h"
#include "model/embed.h"
#include "model/part_fvit.h"

enum { MAX_TENSORS = 2048, NAME = 192 };

static struct lafs_err err;
static struct lafs_backend cpu;
static char dir[] = "/tmp/lafs-modelfile.XXXXXX";
static char path_a[64], path_b[64];

static int begin(void)
{
    if (cpu.ops) return 1;
    if (!mkdtemp(dir)) return 0;
    snprintf(path_a, sizeof path_a, "%s/a.safetensors", dir);
    snprintf(path_b, sizeof path_b, "%s/b.safetensors", dir);
    return lafs_backend_open(&cpu, "cpu", NULL, NULL, &err) == LAFS_OK;
}

TEST(leaves_nothing) /* the last one */
{
    if (!cpu.ops) return;
    lafs_backend_close(&cpu);
    unlink(path_a);
    unlink(path_b);
    CHECK_INT(rmdir(dir), 0);
}

/* A ViT of one block, 9 patches of 4 x 4. */
static struct lafs_model_config tiny(int parts)
{
    struct lafs_model_config c;
    if (lafs_model_config_named(&c, "xs", &err) != LAFS_OK) abort();
    c.vit.dim = 8;
    c.vit.depth = 1;
    c.vit.heads = 1;
    c.vit.mlp = 6;
    c.vit.patches = 9;
    c.vit.patch = 4;
    c.parts = parts;
    return c;
}

static lafs_status make(struct lafs_model *m, const struct lafs_model_config *c, uint64_t seed)
{
    LAFS_TRY(lafs_model_init(m, c, &err));
    LAFS_TRY(lafs_params_place(&m->params, &cpu, &err));
    return lafs_params_fill(&m->params, &cpu, seed, &err);
}

static lafs_status save(const struct lafs_model_config *c, uint64_t seed, const char *path)
{
    struct lafs_model m;
    LAFS_TRY(make(&m, c, seed));
    lafs_status s = lafs_model_save(&m, &cpu, m.params.value, path, NULL, 0, &err);
    lafs_model_release(&m, &cpu);
    return s;
}

/* Values of two tables of the same parameters, bit by bit; those whose name passes `of` (NULL: all). */
static int equal(const struct lafs_params *a, const struct lafs_params *b, int (*of)(const char *))
{
    for (int i = 0; i < a->count; i++) {
        const struct lafs_param *p = &a->p[i], *q = lafs_params_find(b, p->name);
        if (of && !of(p->name)) continue;
        if (!q || q->size != p->size) return 0;
        if (memcmp(a->value + p->off, b->value + q->off, (size_t)p->size * sizeof(float))) return 0;
    }
    return 1;
}

/* -- a file's tensors and metadata, to be changed and written as another file -- */

static struct edit {
    struct lafs_st *st;
    struct lafs_st_tensor t[MAX_TENSORS];
    char name[MAX_TENSORS][NAME];
    struct lafs_st_meta meta[64];
    int n, metas;
} ed;

/* Adds the tensors of an open file, their names behind prefix. */
static void add(const struct lafs_st *st, const char *prefix)
{
    for (int i = 0; i < st->count && ed.n < MAX_TENSORS; i++, ed.n++) {
        ed.t[ed.n] = st->tensor[i];
        snprintf(ed.name[ed.n], NAME, "%s%s", prefix, st->tensor[i].name);
        ed.t[ed.n].name = ed.name[ed.n];
    }
}

static void close_edit(void)
{
    lafs_st_close(ed.st);
    ed.st = NULL;
}

static int open_edit(const char *path, const char *prefix)
{
    close_edit();
    ed.n = ed.metas = 0;
    if (lafs_st_open(&ed.st, path, &err) != LAFS_OK) return 0;
    add(ed.st, prefix);
    for (int i = 0; i < ed.st->metas; i++) ed.meta[ed.metas++] = ed.st->meta[i];
    return 1;
}

static int at(const char *name)
{
    for (int i = 0; i < ed.n; i++)
        if (!strcmp(ed.t[i].name, name)) return i;
    fprintf(stderr, "no tensor %s\n", name);
    abort();
}

static void add_one(const char *name, int64_t count)
{
    static const float zeros[64];
    ed.t[ed.n] = (struct lafs_st_tensor){.name = name,
                                         .dtype = LAFS_F32,
                                         .ndim = 1,
                                         .shape = {count},
                                         .count = count,
                                         .data = zeros};
    ed.n++;
}

static void set_meta(const char *key, const char *value)
{
    for (int i = 0; i < ed.metas; i++)
        if (!strcmp(ed.meta[i].key, key)) {
            ed.meta[i].value = value;
            return;
        }
    ed.meta[ed.metas++] = (struct lafs_st_meta){key, value};
}

static lafs_status load_edited(struct lafs_model *m)
{
    memset(m, 0, sizeof *m);
    LAFS_TRY(lafs_st_write(path_b, ed.t, ed.n, ed.meta, ed.metas, &err));
    return lafs_model_load(m, &cpu, path_b, &err);
}

/* The edited file is refused, the message names the file and says `say`. */
#define REFUSED(say)                                                                    \
    do {                                                                                \
        struct lafs_model m_;                                                           \
        CHECK_INT(load_edited(&m_), LAFS_FAILED);                                       \
        if (!strstr(err.msg, say) || !strstr(err.msg, path_b)) FAIL_("'%s' does not say '%s'", err.msg, say); \
        CHECK(!m_.params.value && !m_.meta);                                            \
        lafs_model_release(&m_, &cpu);                                                  \
    } while (0)
#define EDIT(path) REQUIRE(open_edit(path, ""))

/* -- tests -- */

TEST(what_is_saved_is_loaded)
{
    struct lafs_model m, l;
    REQUIRE(begin());
    struct lafs_model_config c = tiny(LAFS_PART_VIT | LAFS_PART_CNN);
    c.vit.dropout = 0.25f;
    c.vit.drop_path = 0;
    c.vit.scale = LAFS_SCALE_HEAD;
    snprintf(c.pixels.channels, sizeof c.pixels.channels, "bgr");
    REQUIRE_OK(make(&m, &c, 5), &err);
    const struct lafs_param *counter = lafs_params_find(&m.params, "stn.features.0.1.num_batches_tracked");
    REQUIRE(counter && counter->ndim == 0);
    m.params.value[counter->off] = 12345;
    const struct lafs_st_meta meta[] = {{"training", "none"}, {"licence", "mine"}};
    REQUIRE_OK(lafs_model_save(&m, &cpu, m.params.value, path_a, meta, 2, &err), &err);
    REQUIRE_OK(lafs_model_load(&l, &cpu, path_a, &err), &err);
    CHECK_INT(l.params.count, m.params.count);
    CHECK(equal(&m.params, &l.params, NULL));
    CHECK_INT(l.config.parts, c.parts);
    CHECK_INT(l.config.tokens, LAFS_TOKENS_LANDMARK);
    CHECK(!memcmp(&l.config.vit, &c.vit, sizeof c.vit));
    CHECK_STR(l.config.pixels.channels, "bgr");
    CHECK_STR(l.config.pixels.aligner, "arcface5");
    CHECK_INT(l.config.pixels.size, 112);
    CHECK_STR(lafs_st_meta_of(l.meta, l.metas, "architecture"), "part_fvit");
    CHECK_STR(lafs_st_meta_of(l.meta, l.metas, "training"), "none");
    CHECK_STR(lafs_st_meta_of(l.meta, l.metas, "licence"), "mine");
    CHECK(lafs_st_meta_of(l.meta, l.metas, "intended_use") && strstr(lafs_st_meta_of(l.meta, l.metas, "intended_use"), "not a probability"));
    CHECK(!lafs_st_meta_of(l.meta, l.metas, "size")); /* of no name */
    CHECK(!lafs_st_meta_of(l.meta, l.metas, "nothing"));
    /* The counter is the int64 scalar that PyTorch wants. */
    EDIT(path_a);
    const struct lafs_st_tensor *t = &ed.t[at(counter->name)];
    CHECK(t->dtype == LAFS_I64 && t->ndim == 0);
    close_edit();
    lafs_model_release(&m, &cpu);
    lafs_model_release(&l, &cpu);
}

TEST(the_cnn_alone)
{
    struct lafs_model m, l;
    struct lafs_embedder e[2];
    enum { CROP = LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3, N = 5 };
    static uint8_t crops[N * CROP];
    static float want[N * 2 * 16], got[N * 2 * 16];
    REQUIRE(begin());
    struct lafs_model_config c = tiny(LAFS_PART_VIT | LAFS_PART_CNN);
    REQUIRE(c.vit.patches <= 16);
    REQUIRE_OK(make(&m, &c, 5), &err);
    REQUIRE_OK(lafs_model_save(&m, &cpu, m.params.value, path_a, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_model_load_cnn(&l, &cpu, path_a, &err), &err);
    CHECK_INT(l.config.parts, LAFS_PART_CNN);
    CHECK(equal(&l.params, &m.params, lafs_is_cnn_name));
    CHECK(!lafs_params_find(&l.params, "pos_embedding"));
    /* The same landmarks, whether crops come alone, then in more than one call's room, or at once. */
    for (int i = 0; i < N * CROP; i++) crops[i] = (uint8_t)(i * 2654435761u >> 11);
    REQUIRE_OK(lafs_embedder_open(&e[0], &m, &cpu, N, LAFS_FOR_LANDMARKS, &err), &err);
    REQUIRE_OK(lafs_embedder_open(&e[1], &l, &cpu, 2, LAFS_FOR_LANDMARKS, &err), &err);
    REQUIRE_OK(lafs_landmarks(&e[0], N, crops, want, &err), &err);
    REQUIRE_OK(lafs_landmarks(&e[1], 1, crops, got, &err), &err);
    CHECK_INT(e[1].room, 1);
    REQUIRE_OK(lafs_landmarks(&e[1], N - 1, crops + CROP, got + 2 * c.vit.patches, &err), &err);
    CHECK_INT(e[1].room, 2);
    CHECK(!memcmp(want, got, (size_t)(N * 2 * c.vit.patches) * sizeof *want));
    for (int i = 0; i < 2; i++) lafs_embedder_close(&e[i]);
    lafs_model_release(&l, &cpu);
    /* Of the ViT nothing is looked at; what belongs to neither is not known. */
    EDIT(path_a);
    ed.t[at("mlp_head.0.bias")].name = "mlp_head.0.tail";
    REQUIRE_OK(lafs_st_write(path_b, ed.t, ed.n, ed.meta, ed.metas, &err), &err);
    REQUIRE_OK(lafs_model_load_cnn(&l, &cpu, path_b, &err), &err);
    lafs_model_release(&l, &cpu);
    ed.t[at("mlp_head.0.weight")].name = "other";
    REQUIRE_OK(lafs_st_write(path_b, ed.t, ed.n, ed.meta, ed.metas, &err), &err);
    CHECK_INT(lafs_model_load_cnn(&l, &cpu, path_b, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "tensor 'other' is not known"));
    close_edit();
    lafs_model_release(&m, &cpu);
}

TEST(named_sizes_are_named)
{
    static const char *const names[] = {"xs", "t"};
    struct lafs_model_config c;
    struct lafs_model l;
    REQUIRE(begin());
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(lafs_model_config_named(&c, names[i], &err), &err);
        c.parts = LAFS_PART_VIT;
        c.vit.patches = 9; /* not what a size's name says */
        REQUIRE_OK(save(&c, 1, path_a), &err);
        REQUIRE_OK(lafs_model_load(&l, &cpu, path_a, &err), &err);
        CHECK_STR(lafs_st_meta_of(l.meta, l.metas, "size"), names[i]);
        lafs_model_release(&l, &cpu);
    }
    EDIT(path_a);
    set_meta("size", "xs");
    REFUSED("size = xs, its tensors t");
    /* A file of no names, as others write them. */
    EDIT(path_a);
    ed.metas = 0;
    REQUIRE_OK(load_edited(&l), &err);
    CHECK_INT(l.config.vit.dim, 192);
    CHECK_INT(l.config.vit.depth, 12);
    CHECK_INT(l.config.vit.scale, LAFS_SCALE_DIM);
    CHECK_NEAR(l.config.vit.dropout, 0.1, 1e-6);
    lafs_model_release(&l, &cpu);
    close_edit();
}

TEST(prefixes_in_every_combination)
{
    static const char *const one[] = {"module.", "backbone.", "teacher."};
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    struct lafs_model m, l;
    int combinations = 0;
    REQUIRE(begin());
    REQUIRE_OK(make(&m, &c, 9), &err);
    REQUIRE_OK(lafs_model_save(&m, &cpu, m.params.value, path_a, NULL, 0, &err), &err);
    for (int code = 0; code < 64; code++) { /* three places, each of: nothing or one of the three */
        char prefix[64] = "";
        for (int k = 0, d = code; k < 3; k++, d /= 4) {
            size_t n = strlen(prefix);
            if (d % 4) snprintf(prefix + n, sizeof prefix - n, "%s", one[d % 4 - 1]);
        }
        REQUIRE(open_edit(path_a, prefix));
        REQUIRE_OK(load_edited(&l), &err);
        CHECK(equal(&m.params, &l.params, NULL));
        lafs_model_release(&l, &cpu);
        combinations++;
    }
    CHECK_INT(combinations, 64);
    /* Other prefixes are none. */
    REQUIRE(open_edit(path_a, "net."));
    REFUSED("neither a ViT nor a landmark CNN");
    lafs_model_release(&m, &cpu);
    close_edit();
}

TEST(the_teacher_is_taken)
{
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    struct lafs_model m, l;
    struct lafs_st *teacher;
    REQUIRE(begin());
    REQUIRE_OK(make(&m, &c, 21), &err);
    REQUIRE_OK(lafs_model_save(&m, &cpu, m.params.value, path_a, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_st_open(&teacher, path_a, &err), &err);
    REQUIRE_OK(save(&c, 20, path_b), &err);
    REQUIRE(open_edit(path_b, "student.module.backbone."));
    add(teacher, "teacher.backbone.");
    add_one("student.module.head.mlp.0.bias", 4);
    add_one("teacher.head.mlp.0.bias", 4);
    add_one("teacher.head.last_layer.weight_v", 4);
    add_one("dino_loss.center", 4);
    unlink(path_b); /* what is mapped stays */
    REQUIRE_OK(load_edited(&l), &err);
    CHECK(equal(&m.params, &l.params, NULL));
    lafs_model_release(&l, &cpu);
    /* The parts of a model too. */
    REQUIRE_OK(make(&l, &c, 33), &err);
    CHECK(!equal(&m.params, &l.params, NULL));
    REQUIRE_OK(lafs_model_load_parts(&l, &cpu, path_b, LAFS_PART_VIT, l.params.value, &err), &err);
    CHECK(equal(&m.params, &l.params, NULL));
    lafs_model_release(&l, &cpu);
    lafs_st_close(teacher);
    /* A student alone is not what anybody means. */
    REQUIRE_OK(save(&c, 20, path_a), &err);
    REQUIRE(open_edit(path_a, ""));
    add_one("student.module.backbone.cls_token", 4);
    REFUSED("tensor 'student.module.backbone.cls_token' is not known");
    REQUIRE(open_edit(path_a, "student.module.backbone."));
    REFUSED("neither a ViT nor a landmark CNN");
    lafs_model_release(&m, &cpu);
    close_edit();
}

TEST(heads_and_classes_are_skipped)
{
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    struct lafs_model l;
    REQUIRE(begin());
    REQUIRE_OK(save(&c, 2, path_a), &err);
    EDIT(path_a);
    add_one("loss.weight", 10);
    add_one("module.head.mlp.2.bias", 10);
    REQUIRE_OK(load_edited(&l), &err);
    CHECK(!lafs_params_find(&l.params, "loss.weight"));
    lafs_model_release(&l, &cpu);
    close_edit();
}

TEST(tensors_that_do_not_fit)
{
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    REQUIRE(begin());
    REQUIRE_OK(save(&c, 2, path_a), &err);
    EDIT(path_a);
    add_one("transformer.layers.0.0.fn.bias", 8);
    REFUSED("tensor 'transformer.layers.0.0.fn.bias' is not known");
    EDIT(path_a);
    add_one("optimizer", 8);
    REFUSED("tensor 'optimizer' is not known");
    /* A block beyond the last: one that is missing in between. */
    EDIT(path_a);
    add_one("transformer.layers.2.0.fn.norm.weight", 8);
    REFUSED("tensor 'transformer.layers.2.0.fn.norm.weight' is not known");

    static const char *const gone[] = {"cls_token",
                                       "patch_to_embedding.bias",
                                       "mlp_head.0.weight",
                                       "transformer.layers.0.1.fn.fn.net.3.bias",
                                       "patch_to_embedding.weight",
                                       "transformer.layers.0.0.fn.fn.to_qkv.weight"};
    for (int i = 0; i < 6; i++) {
        char say[NAME];
        EDIT(path_a);
        snprintf(say, sizeof say, "tensor '%s' is missing", gone[i]);
        int k = at(gone[i]);
        ed.t[k] = ed.t[--ed.n];
        REFUSED(say);
    }

    EDIT(path_a); /* (8, 6) as (6, 8): the same bytes */
    int k = at("transformer.layers.0.1.fn.fn.net.3.weight");
    ed.t[k].shape[0] = 6;
    ed.t[k].shape[1] = 8;
    REFUSED("'transformer.layers.0.1.fn.fn.net.3.weight'");
    EDIT(path_a);
    k = at("cls_token");
    ed.t[k].ndim = 1;
    ed.t[k].shape[0] = 8;
    REFUSED("'cls_token'");
    static const float odd[8] = {0, 0, 0, 0, 0, 0, 0, -INFINITY};
    EDIT(path_a);
    ed.t[at("mlp_head.0.bias")].data = odd;
    REFUSED("tensor 'mlp_head.0.bias' holds a value that is not finite");
    EDIT(path_a);
    k = at("pos_embedding");
    ed.t[k].ndim = 2;
    ed.t[k].shape[0] = 10;
    ed.t[k].shape[1] = 8;
    REFUSED("tensor 'pos_embedding' has 2 dimensions, not 3");
    EDIT(path_a);
    k = at("pos_embedding"); /* 7 patches are no square */
    ed.t[k].shape[1] = 8;
    ed.t[k].count = 64;
    ed.metas = 0;
    REFUSED("7 patches are no square number");
    EDIT(path_a);
    k = at("pos_embedding");
    ed.t[k].shape[1] = 0;
    ed.t[k].count = 0;
    REFUSED("");

    EDIT(path_a);
    add_one("module.cls_token", 8);
    REFUSED("tensor 'cls_token' is there twice: as 'cls_token' and as 'module.cls_token'");
    close_edit();
}

TEST(metadata_that_contradicts)
{
    static const struct {
        const char *key, *value, *say;
    } t[] = {
        {"dim", "16", "dim = 16, its tensors 8"},
        {"depth", "2", "depth = 2, its tensors 1"},
        {"heads", "2", "heads = 2, its tensors 1"},
        {"mlp", "7", "mlp = 7, its tensors 6"},
        {"patches", "4", "patches = 4, its tensors 9"},
        {"patch", "8", "patch = 8, its tensors 4"},
        {"size", "xs", "size = xs, its tensors custom"},
        {"dim", "8x", "dim = '8x': not a number"},
        {"dim", "", "dim = '': not a number"},
        {"tokens", "patch", "tokens = 'patch': neither landmark nor grid"},
        {"tokens", "grid", "a grid has 784 patches of --patch 4, --patches is 9"},
        {"attention_scale", "none", "attention_scale = 'none': neither dim nor head"},
        {"dropout", "1.5", "dropout = '1.5'"},
        {"dropout", "nan", "dropout = 'nan'"},
        {"drop_path", "-0.1", "drop_path = '-0.1'"},
        {"pixels.size", "1e300", "pixels.size = '1e300'"},
        {"pixels.size", "96", "pixels.size = '96'"},
        {"pixels.range", "x/255", "pixels.range = 'x/255': only x/127.5 - 1 is known"},
        {"architecture", "yunet-n", "the model is a 'yunet-n', not a recogniser ('part_fvit')"},
    };
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    REQUIRE(begin());
    REQUIRE_OK(save(&c, 2, path_a), &err);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        EDIT(path_a);
        set_meta(t[i].key, t[i].value);
        REFUSED(t[i].say);
    }
    close_edit();
}

TEST(grid_models)
{
    struct lafs_model_config c = tiny(LAFS_PART_VIT);
    struct lafs_model m, l;
    REQUIRE(begin());
    c.tokens = LAFS_TOKENS_GRID;
    CHECK_INT(lafs_model_init(&m, &c, &err), LAFS_USAGE); /* 112 / 4 squared are no 9 */
    lafs_model_release(&m, &cpu);
    c.vit.patch = 16;
    c.vit.patches = 49;
    REQUIRE_OK(make(&m, &c, 3), &err);
    REQUIRE_OK(lafs_model_save(&m, &cpu, m.params.value, path_a, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_model_load(&l, &cpu, path_a, &err), &err);
    CHECK_INT(l.config.tokens, LAFS_TOKENS_GRID);
    CHECK_INT(l.config.parts, LAFS_PART_VIT);
    CHECK_INT(l.config.vit.patch, 16);
    CHECK_INT(l.config.vit.patches, 49);
    CHECK(equal(&m.params, &l.params, NULL));
    lafs_model_release(&m, &cpu);
    lafs_model_release(&l, &cpu);
}

/* With a CNN: what it must agree with. */
TEST(landmark_networks)
{
    struct lafs_model_config c = tiny(LAFS_PART_VIT | LAFS_PART_CNN), alone = tiny(LAFS_PART_CNN);
    struct lafs_model l;
    REQUIRE(begin());
    REQUIRE_OK(save(&c, 4, path_a), &err);
    EDIT(path_a);
    set_meta("tokens", "grid");
    REFUSED("tokens = grid, but it has a landmark CNN");
    EDIT(path_a);
    int k = at("output_layer.1.weight"); /* 16 coordinates: 8 landmarks */
    ed.t[k].shape[0] = 16;
    ed.t[k].count = 16 * 160;
    REFUSED("its landmark CNN has 8 landmarks, its ViT 9 patches");
    ed.t[k].shape[0] = 17;
    ed.t[k].count = 17 * 160;
    REFUSED("its landmark CNN has 17 coordinates");
    EDIT(path_a);
    k = at("stn.features.3.conv.4.running_var");
    ed.t[k] = ed.t[--ed.n];
    REFUSED("tensor 'stn.features.3.conv.4.running_var' is missing");
    EDIT(path_a); /* counters change no result */
    k = at("stn.features.3.conv.4.num_batches_tracked");
    ed.t[k] = ed.t[--ed.n];
    REQUIRE_OK(load_edited(&l), &err);
    const struct lafs_param *p = lafs_params_find(&l.params, "stn.features.3.conv.4.num_batches_tracked");
    CHECK(p && l.params.value[p->off] == 0);
    lafs_model_release(&l, &cpu);
    close_edit();

    REQUIRE_OK(save(&alone, 4, path_a), &err);
    REQUIRE_OK(lafs_model_load(&l, &cpu, path_a, &err), &err);
    CHECK_INT(l.config.parts, LAFS_PART_CNN);
    CHECK_INT(l.config.vit.patches, 9);
    CHECK(!lafs_st_meta_of(l.meta, l.metas, "size"));
    lafs_model_release(&l, &cpu);
}

static int is_vit(const char *name) { return !lafs_is_cnn_name(name); }

TEST(parts_of_another_model)
{
    struct lafs_model_config both = tiny(LAFS_PART_VIT | LAFS_PART_CNN), vit = tiny(LAFS_PART_VIT);
    struct lafs_model a, m, before;
    REQUIRE(begin());
    REQUIRE_OK(make(&a, &both, 6), &err);
    REQUIRE_OK(make(&m, &both, 7), &err);
    REQUIRE_OK(make(&before, &both, 7), &err);
    REQUIRE_OK(lafs_model_save(&a, &cpu, a.params.value, path_a, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_CNN, m.params.value, &err), &err);
    CHECK(equal(&m.params, &a.params, lafs_is_cnn_name));
    CHECK(equal(&m.params, &before.params, is_vit));
    CHECK(!equal(&m.params, &a.params, is_vit));

    REQUIRE_OK(save(&vit, 8, path_a), &err); /* a ViT alone, as self-supervised training leaves it */
    REQUIRE_OK(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_VIT, m.params.value, &err), &err);
    CHECK(equal(&m.params, &a.params, lafs_is_cnn_name));
    CHECK(!equal(&m.params, &before.params, is_vit));
    CHECK_INT(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_VIT | LAFS_PART_CNN, m.params.value, &err),
              LAFS_FAILED);
    CHECK(strstr(err.msg, "it holds no landmark CNN") && strstr(err.msg, path_a));

    vit.vit.mlp = 7;
    vit.vit.depth++; /* whose first blocks have the shapes that are wanted */
    REQUIRE_OK(save(&vit, 8, path_a), &err);
    CHECK_INT(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_VIT, m.params.value, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "its ViT has --depth 2 --mlp 7, not --depth 1 --mlp 6") && strstr(err.msg, path_a));
    vit = tiny(LAFS_PART_VIT);
    vit.vit.scale = LAFS_SCALE_HEAD;
    REQUIRE_OK(save(&vit, 8, path_a), &err);
    CHECK_INT(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_VIT, m.params.value, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "its ViT has --scale head, not dim"));
    both.vit.patches = 16;
    lafs_model_release(&a, &cpu);
    REQUIRE_OK(make(&a, &both, 6), &err);
    REQUIRE_OK(lafs_model_save(&a, &cpu, a.params.value, path_a, NULL, 0, &err), &err);
    CHECK_INT(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_CNN, m.params.value, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "its landmark CNN has 16 landmarks, --patches is 9"));
    lafs_model_release(&a, &cpu);
    REQUIRE_OK(make(&a, &vit, 6), &err);
    EDIT(path_a);
    set_meta("architecture", "yunet-n");
    REQUIRE_OK(lafs_st_write(path_b, ed.t, ed.n, ed.meta, ed.metas, &err), &err);
    CHECK_INT(lafs_model_load_parts(&m, &cpu, path_b, LAFS_PART_VIT, m.params.value, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "the model is a 'yunet-n'"));
    close_edit();
    lafs_model_release(&a, &cpu);
    lafs_model_release(&m, &cpu);
    lafs_model_release(&before, &cpu);
}

/* A landmark's patch is walked down its columns, a grid's along its rows: the token must not change with that. */
TEST(vit_of_the_other_kind_of_tokens)
{
    enum { P = 28 };
    struct lafs_model_config grid = tiny(LAFS_PART_VIT), points;
    struct lafs_model from, m;
    REQUIRE(begin());
    grid.vit.patch = P;
    grid.vit.patches = 16; /* of a crop of 112 */
    points = grid;
    for (int k = 0; k < 2; k++) { /* either way */
        grid.tokens = k ? LAFS_TOKENS_LANDMARK : LAFS_TOKENS_GRID;
        points.tokens = k ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK;
        REQUIRE_OK(make(&from, &grid, 8), &err);
        REQUIRE_OK(lafs_model_save(&from, &cpu, from.params.value, path_a, NULL, 0, &err), &err);
        REQUIRE_OK(make(&m, &points, 9), &err);
        REQUIRE_OK(lafs_model_load_parts(&m, &cpu, path_a, LAFS_PART_VIT, m.params.value, &err), &err);
        const struct lafs_param *p = lafs_params_find(&m.params, "patch_to_embedding.weight");
        const float *a = from.params.value + p->off, *b = m.params.value + p->off;
        int wrong = 0;
        for (int d = 0; d < 8; d++)
            for (int i = 0; i < P; i++)
                for (int j = 0; j < P; j++)
                    for (int c = 0; c < 3; c++)
                        wrong += a[((d * P + i) * P + j) * 3 + c] != b[((d * P + j) * P + i) * 3 + c];
        CHECK_INT(wrong, 0);
        const struct lafs_param *q = lafs_params_find(&m.params, "pos_embedding"); /* the rest as it was */
        CHECK(!memcmp(from.params.value + q->off, m.params.value + q->off, (size_t)q->size * sizeof(float)));
        lafs_model_release(&from, &cpu);
        lafs_model_release(&m, &cpu);
    }
}

TEST(faces_of_another_kind)
{
    struct lafs_model m = {.config = tiny(LAFS_PART_VIT)};
    struct lafs_pixels have = m.config.pixels;
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_OK);
    have.size = 96;
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_USAGE);
    CHECK_STR(err.msg, "the faces are 96 pixels wide, the model wants 112");
    have = m.config.pixels;
    snprintf(have.channels, sizeof have.channels, "bgr");
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_USAGE);
    CHECK_STR(err.msg, "the faces' channels are bgr, the model wants rgb");
    have = m.config.pixels;
    snprintf(have.aligner, sizeof have.aligner, "mine");
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_USAGE);
    CHECK_STR(err.msg, "the faces are aligned by 'mine', the model wants 'arcface5'");
    snprintf(have.aligner, sizeof have.aligner, "given");
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_OK);
    memset(&have, 0, sizeof have); /* a stream that says nothing */
    CHECK_INT(lafs_model_check_pixels(&m, &have, &err), LAFS_OK);
}

TEST_MAIN(what_is_saved_is_loaded, the_cnn_alone, named_sizes_are_named, prefixes_in_every_combination,
          the_teacher_is_taken, heads_and_classes_are_skipped, tensors_that_do_not_fit, metadata_that_contradicts,
          grid_models, landmark_networks, parts_of_another_model,
          vit_of_the_other_kind_of_tokens, faces_of_another_kind, leaves_nothing)
