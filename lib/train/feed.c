#include "train/feed.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "compute/repeat.h"
#include "data/loader.h"
#include "data/views.h"
#include "train/ahead.h"

/* Views that go through the CNN at once, at most: a CPU's caches like few, a GPU's many processors many. */
enum { CHUNK = 64, GPU_CHUNK = 1024, SIDE = LAFS_CNN_SIDE, CROP = SIDE * SIDE * 3 };

struct lafs_feed {
    struct lafs_feed_config c;
    const struct lafs_backend *b;
    int64_t views;                  /* per image */
    int64_t chunk;                  /* views computed at once */
    struct lafs_arena arena;
    struct lafs_ahead *ahead;
    /* what is handed out: two of each, one in use while the other is made */
    struct slot {
        float *tokens;              /* all views' tokens of a micro-batch */
        uint64_t *key_hash;         /* (micro) host */
    } slot[LAFS_AHEAD_SLOTS], *out; /* out: being made */
    /* from an index */
    struct lafs_pool *pool;
    const struct lafs_index *ix;
    struct lafs_fetch *fetch;
    int64_t *order, order_epoch;    /* (ix->samples); -1: none yet */
    struct lafs_image *source;      /* (micro) */
    const char **key;               /* (micro): in the index or in sample */
    struct lafs_viewplan *plan;     /* (views * micro), view-major, as the rest */
    struct lafs_err *errs;          /* (micro) */
    const int64_t *want;            /* index positions of this batch */
    int64_t epoch;
    uint8_t *clean, *augmented;     /* (views * micro, 112*112*3) */
    uint8_t **clean_at, **augmented_at;
    const uint8_t **source_at;
    int *w, *h;
    struct lafs_cnn_work cnn;
    struct lafs_repeat cnn_again;
    float *images, *found;                /* (chunk, CROP), (chunk, R, 2) */
    float *landmarks, *points;            /* (views * micro, R, 2); points: of each view as many as it has tokens */
    float *host_landmarks, *host_points;  /* the same */
    int64_t *off, *dev_off;               /* (2, chunk + 1): of a chunk of global views, of local ones */
    /* from a stream */
    struct lafs_reader *reader;
    struct lafs_sample sample;
    float *host_tokens;             /* the longest view's */
    int64_t at_epoch, at_position;  /* of the record that comes next */
    int held;                       /* sample holds it already */
};

static int kind_of(const struct lafs_feed *f, int64_t view)
{
    return view < f->c.views.globals ? LAFS_VIEW_GLOBAL : LAFS_VIEW_LOCAL;
}

static int size_of(const struct lafs_feed *f, int64_t view)
{
    return view < f->c.views.globals ? f->c.views.size : f->c.views.local_size;
}

static int64_t tokens_of(const struct lafs_feed *f, int64_t view)
{
    return lafs_view_tokens(&f->c.points, kind_of(f, view), size_of(f, view));
}

/* First token of view j of the list, which has n images of each view. */
static int64_t token_start(const struct lafs_feed *f, int64_t j, int64_t n)
{
    const int64_t globals = f->c.views.globals * n, before = j < globals ? j : globals;
    int64_t at = before ? before * tokens_of(f, 0) : 0;
    if (j > before) at += (j - before) * tokens_of(f, f->c.views.globals);
    return at;
}

static int64_t token_width(const struct lafs_feed *f) { return (int64_t)f->c.points.patch * f->c.points.patch * 3; }

static lafs_status carve(struct lafs_feed *f, struct lafs_err *err)
{
    size_t all = (size_t)(f->views * f->c.micro), r2 = (size_t)f->c.points.landmarks * 2;
    size_t values = (size_t)(token_start(f, f->views * f->c.micro, f->c.micro) * token_width(f));
    for (int i = 0; i < (f->c.ahead ? LAFS_AHEAD_SLOTS : 1); i++)
        f->slot[i].tokens = lafs_arena_take(&f->arena, values, sizeof(float));
    if (!f->c.ahead) f->slot[1].tokens = f->slot[0].tokens;
    if (!f->ix) return LAFS_OK;
    f->augmented = lafs_arena_take(&f->arena, all, CROP);
    f->images = lafs_arena_take(&f->arena, (size_t)f->chunk * CROP, sizeof(float));
    if (f->c.points.dino) return LAFS_OK;
    f->clean = lafs_arena_take(&f->arena, all, CROP);
    f->points = lafs_arena_take(&f->arena, all * r2, sizeof(float));
    f->dev_off = lafs_arena_take(&f->arena, 2 * (size_t)(f->chunk + 1), sizeof(int64_t));
    if (!f->c.cnn) return LAFS_OK;
    f->landmarks = lafs_arena_take(&f->arena, all * r2, sizeof(float));
    f->found = lafs_arena_take(&f->arena, (size_t)f->chunk * r2, sizeof(float));
    return lafs_cnn_plan(&f->cnn, &f->c.cnn->cnn, f->chunk, LAFS_CNN_FOLDED, f->b, &f->arena, err);
}

static lafs_status host_memory(struct lafs_feed *f, struct lafs_err *err)
{
    size_t n = (size_t)f->c.micro, all = (size_t)f->views * n, r2 = (size_t)f->c.points.landmarks * 2;
    for (int i = 0; i < LAFS_AHEAD_SLOTS; i++)
        LAFS_TRY(lafs_alloc(&f->slot[i].key_hash, n, sizeof *f->slot[i].key_hash, err));
    if (!f->ix) {
        size_t longest = (size_t)tokens_of(f, 0);
        for (int64_t v = 1; v < f->views; v++)
            if ((size_t)tokens_of(f, v) > longest) longest = (size_t)tokens_of(f, v);
        return lafs_alloc(&f->host_tokens, longest * (size_t)token_width(f), sizeof(float), err);
    }
    LAFS_TRY(lafs_alloc(&f->order, (size_t)f->ix->samples, sizeof *f->order, err));
    LAFS_TRY(lafs_alloc0(&f->source, n, sizeof *f->source, err));
    LAFS_TRY(lafs_alloc0(&f->key, n, sizeof *f->key, err));
    LAFS_TRY(lafs_alloc0(&f->errs, n, sizeof *f->errs, err));
    LAFS_TRY(lafs_alloc0(&f->plan, all, sizeof *f->plan, err));
    LAFS_TRY(lafs_alloc0(&f->clean_at, all, sizeof *f->clean_at, err));
    LAFS_TRY(lafs_alloc0(&f->augmented_at, all, sizeof *f->augmented_at, err));
    LAFS_TRY(lafs_alloc0(&f->source_at, all, sizeof *f->source_at, err));
    LAFS_TRY(lafs_alloc0(&f->w, all, sizeof *f->w, err));
    LAFS_TRY(lafs_alloc0(&f->h, all, sizeof *f->h, err));
    LAFS_TRY(lafs_alloc0(&f->host_landmarks, all * r2, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&f->host_points, all * r2, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&f->off, 2 * (size_t)(f->chunk + 1), sizeof *f->off, err));
    for (int64_t i = 0; i <= f->chunk; i++) {
        f->off[i] = f->c.views.globals ? i * tokens_of(f, 0) : 0;
        f->off[f->chunk + 1 + i] = f->c.views.locals ? i * tokens_of(f, f->c.views.globals) : 0;
    }
    return LAFS_OK;
}

/* What the device keeps all the time. */
static lafs_status device_memory(struct lafs_feed *f, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    LAFS_TRY(lafs_arena_reserve(&f->arena, b, err));
    LAFS_TRY(carve(f, err));
    if (!f->ix || f->c.points.dino) return LAFS_OK;
    b->ops->upload(b->dev, f->dev_off, f->off, 2 * (size_t)(f->chunk + 1) * sizeof *f->off);
    if (f->c.cnn) LAFS_TRY(lafs_cnn_fold(&f->cnn, b, f->c.cnn->params.value, err));
    return b->ops->sync(b->dev, err);
}

/* Chunks of `all` views, as equal as can be. */
static int64_t chunk_of(const struct lafs_backend *b, int64_t all)
{
    const int64_t most = b->ops->record ? GPU_CHUNK : CHUNK, chunks = (all + most - 1) / most;
    return (all + chunks - 1) / chunks;
}

static lafs_make_fn make;

static lafs_status feed_new(struct lafs_feed **out, const struct lafs_feed_config *c, const struct lafs_backend *b,
                            const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_feed *f;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&f, 1, sizeof *f, err));
    f->c = *c;
    f->b = b;
    f->ix = ix;
    f->views = c->views.globals + c->views.locals;
    f->chunk = chunk_of(b, f->views * c->micro);
    f->order_epoch = -1;
    if (!f->c.turns.ranks) f->c.turns = lafs_turns_of(NULL, 1);
    lafs_sample_init(&f->sample);
    lafs_status st;
    LAFS_TRY_GOTO(st, carve(f, err), fail);
    if (c->plan_only) {
        *out = f;
        return LAFS_OK;
    }
    LAFS_TRY_GOTO(st, host_memory(f, err), fail);
    LAFS_TRY_GOTO(st, device_memory(f, err), fail);
    const int64_t end = lafs_turns_local(&f->c.turns, c->per_epoch * c->epochs);
    LAFS_TRY_GOTO(st, lafs_ahead_new(&f->ahead, make, f, end, c->ahead, err), fail);
    *out = f;
    return LAFS_OK;
fail:
    lafs_feed_close(f);
    return st;
}

lafs_status lafs_feed_index(struct lafs_feed **out, const struct lafs_feed_config *c, const struct lafs_backend *b,
                            struct lafs_pool *pool, const struct lafs_index *ix, struct lafs_err *err)
{
    LAFS_TRY(feed_new(out, c, b, ix, err));
    (*out)->pool = pool;
    lafs_status st = lafs_fetch_open(&(*out)->fetch, ix, err);
    if (st != LAFS_OK) {
        lafs_feed_close(*out);
        *out = NULL;
    }
    return st;
}

lafs_status lafs_feed_stream(struct lafs_feed **out, const struct lafs_feed_config *c, const struct lafs_backend *b,
                             struct lafs_reader *reader, struct lafs_err *err)
{
    LAFS_TRY(feed_new(out, c, b, NULL, err));
    (*out)->reader = reader;
    return LAFS_OK;
}

void lafs_feed_close(struct lafs_feed *f)
{
    if (!f) return;
    if (f->ahead) lafs_ahead_stop(f->ahead, -1);
    if (f->source)
        for (int i = 0; i < f->c.micro; i++) lafs_image_release(&f->source[i]);
    lafs_ahead_free(f->ahead);
    lafs_fetch_close(f->fetch);
    lafs_repeat_forget(&f->cnn_again, f->b);
    lafs_cnn_work_release(&f->cnn);
    lafs_arena_release(&f->arena, f->b);
    lafs_sample_release(&f->sample);
    void *owned[] = {f->slot[0].key_hash, f->slot[1].key_hash, f->order, f->source, (void *)f->key, f->errs, f->plan,
                     f->clean_at, f->augmented_at, (void *)f->source_at,
                     f->w, f->h, f->host_landmarks, f->host_points, f->off, f->host_tokens};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) lafs_free(owned[i]);
    lafs_free(f);
}

/* -- from an index -- */

/* Image i of the batch: decode, and draw its views. */
static void prepare(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_feed *f = arg;
    struct lafs_err *err = &f->errs[i];
    struct lafs_viewplan plan[LAFS_MAX_VIEWS];
    f->key[i] = f->ix->sample[f->want[i]].key;
    err->status = lafs_index_image(f->ix, f->fetch, f->want[i], f->c.max_pixels, &f->source[i], err);
    if (err->status != LAFS_OK) return;
    const struct lafs_image *im = &f->source[i];
    f->out->key_hash[i] = lafs_fnv1a(f->key[i], strlen(f->key[i]));
    lafs_plan_pretrain(&f->c.views, im->w, im->h, f->c.seed, f->epoch, f->key[i], plan);
    for (int64_t v = 0; v < f->views; v++) f->plan[v * f->c.micro + i] = plan[v];
}

/* Renders all views of n images, view-major without gaps. */
static void render(struct lafs_feed *f, int n)
{
    int64_t j = 0;
    for (int64_t v = 0; v < f->views; v++)
        for (int i = 0; i < n; i++, j++) {
            f->plan[j] = f->plan[v * f->c.micro + i];
            f->source_at[j] = f->source[i].px;
            f->w[j] = f->source[i].w;
            f->h[j] = f->source[i].h;
            size_t px = (size_t)f->plan[j].out_size * (size_t)f->plan[j].out_size * 3;
            f->augmented_at[j] = j ? f->augmented_at[j - 1] : f->augmented;
            if (j) f->augmented_at[j] += (size_t)f->plan[j - 1].out_size * (size_t)f->plan[j - 1].out_size * 3;
            f->clean_at[j] = f->clean ? f->clean + (size_t)j * px : NULL;
        }
    f->b->ops->render(f->b->dev, j, f->plan, f->source_at, f->w, f->h, f->clean ? f->clean_at : NULL, f->augmented_at);
}

struct crops {
    struct lafs_feed *f;
    int64_t n; /* of f->images */
};
static void find_in_chunk(void *arg)
{
    const struct crops *c = arg;
    struct lafs_feed *f = c->f;
    lafs_cnn_forward(&f->cnn, f->b, f->c.cnn->params.value, NULL, c->n, f->images, NULL, f->found);
}

/* Landmarks of all clean crops, n, into host_landmarks. */
static lafs_status find_landmarks(struct lafs_feed *f, int64_t n, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    size_t r2 = (size_t)f->c.points.landmarks * 2;
    if (!f->c.cnn) {
        for (int64_t j = 0; j < n; j++) lafs_grid_landmarks(f->c.points.landmarks, f->host_landmarks + (size_t)j * r2);
        return LAFS_OK;
    }
    for (int64_t j = 0; j < n; j += f->chunk) {
        struct crops c = {f, n - j < f->chunk ? n - j : f->chunk};
        b->ops->u8_to_f32(b->dev, c.n * CROP, f->clean_at[j], f->images);
        lafs_repeat(&f->cnn_again, b, &c.n, sizeof c.n, find_in_chunk, &c);
        b->ops->copy(b->dev, f->landmarks + (size_t)j * r2, f->found, (size_t)c.n * r2 * sizeof(float));
    }
    b->ops->download(b->dev, f->host_landmarks, f->landmarks, (size_t)n * r2 * sizeof(float));
    LAFS_TRY(b->ops->sync(b->dev, err));
    return lafs_cnn_check(f->host_landmarks, (int64_t)((size_t)n * r2), err);
}

struct draw {
    struct lafs_feed *f;
    int64_t images;
};
static void draw_points(void *arg, int64_t j, int worker)
{
    (void)worker;
    const struct draw *d = arg;
    struct lafs_feed *f = d->f;
    const int64_t v = j / d->images, at = token_start(f, j, d->images);
    lafs_view_points(&f->c.points, kind_of(f, v), f->epoch, f->key[j % d->images], (int)v,
                     f->host_landmarks + j * f->c.points.landmarks * 2, f->host_points + at * 2, NULL);
}

/* Tokens of m views from j on, of n images each, all global or all local. */
static void cut_views(struct lafs_feed *f, int64_t j, int64_t m, int64_t n)
{
    const struct lafs_backend *b = f->b;
    const int local = j >= f->c.views.globals * n, size = size_of(f, j / n), p = f->c.points.patch;
    const int64_t first = token_start(f, j, n), offs = local ? f->chunk + 1 : 0;
    float *tokens = f->out->tokens + first * token_width(f);
    b->ops->u8_to_f32(b->dev, m * size * size * 3, f->augmented_at[j], f->images);
    if (f->c.points.dino) {
        b->ops->grid_cut(b->dev, m, size, p, f->images, tokens);
        return;
    }
    struct lafs_seqs s = {m, f->off + offs, f->dev_off + offs, tokens_of(f, j / n)};
    b->ops->patch_cut(b->dev, &s, size, p, f->c.cnn != NULL, f->images, f->points + first * 2, tokens);
}

/* The tokens of all views of n images, planned and decoded. */
static lafs_status make_tokens(struct lafs_feed *f, int n, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    const int64_t all = f->views * n, globals = (int64_t)f->c.views.globals * n;
    render(f, n);
    if (!f->c.points.dino) {
        LAFS_TRY(find_landmarks(f, all, err));
        lafs_pool_for(f->pool, all, draw_points, &(struct draw){f, n});
        b->ops->upload(b->dev, f->points, f->host_points, (size_t)(token_start(f, all, n) * 2) * sizeof(float));
    }
    for (int64_t j = 0, m; j < all; j += m) {
        const int64_t left = (j < globals ? globals : all) - j;
        m = left < f->chunk ? left : f->chunk;
        cut_views(f, j, m, n);
    }
    return b->ops->sync(b->dev, err); /* host arrays are used again */
}

static lafs_status next_of_index(struct lafs_feed *f, int64_t epoch, int64_t position, int n, struct lafs_err *err)
{
    if (f->order_epoch != epoch) {
        LAFS_TRY(lafs_epoch_order(f->ix, f->c.seed, epoch, f->order, err));
        f->order_epoch = epoch;
    }
    f->want = f->order + position;
    f->epoch = epoch;
    lafs_pool_for(f->pool, n, prepare, f);
    LAFS_TRY(lafs_err_first(f->errs, n, err));
    return make_tokens(f, n, err);
}

lafs_status lafs_feed_rehearse(struct lafs_feed *f, struct lafs_err *err)
{
    const int n = f->c.micro;
    int w, h;
    struct lafs_viewplan plan[LAFS_MAX_VIEWS];
    uint8_t *blank;
    lafs_index_largest(f->ix, f->fetch, &w, &h);
    if (w < 1) w = h = SIDE;
    const size_t bytes = (size_t)w * (size_t)h * 3;
    LAFS_TRY(lafs_alloc0(&blank, (size_t)n, bytes, err));
    f->out = &f->slot[0];
    for (int i = 0; i < n; i++) {
        f->key[i] = "";
        f->source[i] = (struct lafs_image){.w = w, .h = h, .px = blank + (size_t)i * bytes};
        lafs_plan_pretrain(&f->c.views, w, h, f->c.seed, 0, f->key[i], plan);
        for (int64_t v = 0; v < f->views; v++) f->plan[v * n + i] = plan[v];
    }
    lafs_status st = make_tokens(f, n, err);
    for (int i = 0; i < n; i++) f->source[i] = (struct lafs_image){0};
    lafs_free(blank);
    return st;
}

/* -- from a stream -- */

/* Makes f->sample the next record of the stream, with its place in f->at_*. */
static lafs_status read_record(struct lafs_feed *f, struct lafs_err *err)
{
    if (f->held) return LAFS_OK;
    int64_t epoch, position;
    lafs_status st = lafs_reader_next(f->reader, &f->sample, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_CUT, "the stream of views ended before training did");
    if (st == LAFS_BAD_RECORD) st = LAFS_FAILED; /* a batch without it would be another batch */
    LAFS_TRY(st);
    const char *key = lafs_sample_key(&f->sample);
    if (lafs_sample_int(&f->sample, "epoch", &epoch, err) != LAFS_OK ||
        lafs_sample_int(&f->sample, "position", &position, err) != LAFS_OK)
        return lafs_fail(err, LAFS_FAILED,
                         "record '%s' has no fields 'epoch' and 'position' (was it made by lafs-augment?)", key);
    f->at_epoch = epoch;
    f->at_position = position;
    f->held = 1;
    return LAFS_OK;
}

static lafs_status upload_views(struct lafs_feed *f, int i, int n, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    struct lafs_view view[LAFS_MAX_VIEWS];
    const char *key = lafs_sample_key(&f->sample);
    int have = 0;
    lafs_status st = lafs_views_get(&f->sample, view, LAFS_MAX_VIEWS, &have, err);
    if (st != LAFS_OK && st != LAFS_END) return lafs_err_prefix(err, "record '%s'", key), LAFS_FAILED;
    if (have != f->views)
        return lafs_fail(err, LAFS_FAILED, "record '%s' has %d views, not %" PRId64, key, have, f->views);
    for (int64_t v = 0; v < f->views; v++) {
        int64_t count = tokens_of(f, v), size = count * token_width(f);
        if (!view[v].patches || view[v].n != count || view[v].p != f->c.points.patch)
            return lafs_fail(err, LAFS_FAILED, "record '%s', view %" PRId64 ": not %" PRId64 " patches of %d x %d", key,
                             v, count, f->c.points.patch, f->c.points.patch);
        memcpy(f->host_tokens, view[v].patches, (size_t)size * sizeof(float));
        float *to = f->out->tokens + token_start(f, v * n, n) * token_width(f) + i * size;
        b->ops->upload(b->dev, to, f->host_tokens, (size_t)size * sizeof(float));
        LAFS_TRY(b->ops->sync(b->dev, err)); /* host_tokens are used again */
    }
    return LAFS_OK;
}

static lafs_status next_of_stream(struct lafs_feed *f, int64_t epoch, int64_t position, int n, struct lafs_err *err)
{
    for (int i = 0; i < n; i++) {
        for (;;) {
            LAFS_TRY(read_record(f, err));
            if (f->at_epoch > epoch || (f->at_epoch == epoch && f->at_position > position + i))
                return lafs_fail(err, LAFS_FAILED,
                                 "the stream is at epoch %" PRId64 ", image %" PRId64 "; training is at epoch %" PRId64
                                 ", image %" PRId64 " (begin it with lafs-augment --resume)",
                                 f->at_epoch, f->at_position, epoch, position + i);
            f->held = 0;
            if (f->at_epoch == epoch && f->at_position == position + i) break;
        }
        const char *key = lafs_sample_key(&f->sample);
        f->out->key_hash[i] = lafs_fnv1a(key, strlen(key));
        LAFS_TRY(upload_views(f, i, n, err));
    }
    return LAFS_OK;
}

static lafs_status make(void *arg, int64_t local, int slot, struct lafs_err *err)
{
    struct lafs_feed *f = arg;
    const int64_t number = lafs_turns_global(&f->c.turns, local), epoch = number / f->c.per_epoch,
                  position = number % f->c.per_epoch * f->c.micro;
    f->out = &f->slot[slot];
    return f->ix ? next_of_index(f, epoch, position, f->c.micro, err)
                 : next_of_stream(f, epoch, position, f->c.micro, err);
}

lafs_status lafs_feed_next(struct lafs_feed *f, int64_t number, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    int slot;
    LAFS_TRY(lafs_ahead_take(f->ahead, lafs_turns_local(&f->c.turns, number), &slot, err));
    *batch = (struct lafs_feed_batch){f->slot[slot].tokens, f->slot[slot].key_hash, f->c.micro};
    return LAFS_OK;
}

int lafs_feed_stop(struct lafs_feed *f, double seconds) { return !f->ahead || lafs_ahead_stop(f->ahead, seconds); }

size_t lafs_feed_memory(const struct lafs_feed *f) { return f->arena.used; }

double lafs_feed_waited(const struct lafs_feed *f) { return lafs_ahead_waited(f->ahead); }

lafs_status lafs_feed_drain(struct lafs_feed *f, struct lafs_err *err)
{
    lafs_status st = f->reader ? LAFS_OK : LAFS_END;
    lafs_ahead_stop(f->ahead, -1);
    while (st == LAFS_OK || st == LAFS_BAD_RECORD) st = lafs_reader_next(f->reader, &f->sample, err);
    return st == LAFS_END ? LAFS_OK : st;
}
