/* lafs-synth: labelled photos of faces that do not exist. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cmd/cli.h"
#include "cmd/jsonlog.h"
#include "cmd/printing.h"
#include "cmd/progress.h"
#include "data/stream.h"
#include "synth/synth.h"

enum { CROP = 112, CROP_QUALITY = 95, FOLDS = 10, FOLD_PAIRS = 300 };

static struct {
    int64_t people, first, photos, quality, fold_pairs;
    const char *size, *faces, *pairs;
    int aligned;
} o = {.people = 10, .first = 0, .photos = 4, .size = "250", .faces = "1", .fold_pairs = FOLD_PAIRS};

static const struct cli_option table[] = {
    CLI_OUT, CLI_SHARDS,
    {"people", 'p', CLI_INT, &o.people, "N", "make N people", 1, 1e9, "10"},
    {"people-from", 0, CLI_INT, &o.first, "N", "number the people from N on; sets whose numbers differ share nobody", 0,
     1e12, "0"},
    {"photos", 'n', CLI_INT, &o.photos, "N", "take N photos of each person", 1, 9999, "4"},
    {"size", 0, CLI_STRING, &o.size, "N or WxH", "make photos of N x N or W x H pixels (32..4096)", 0, 0, "250"},
    {"faces", 0, CLI_STRING, &o.faces, "N or LO-HI",
     "show N, or LO to HI, faces in a photo (1..8): the person's and strangers'", 0, 0, "1"},
    {"aligned", 0, CLI_FLAG, &o.aligned, NULL, "write 112x112 crops, aligned by the true points, instead of the photos",
     0, 0, NULL},
    {"quality", 0, CLI_INT, &o.quality, "N", "JPEG quality, 1..100", 1, 100,
     "varies from photo to photo; 95 with --aligned"},
    {"pairs", 0, CLI_STRING, &o.pairs, "FILE", "also write a list of pairs in LFW's form to FILE", 0, 0, NULL},
    {"fold-pairs", 0, CLI_INT, &o.fold_pairs, "N",
     "at most N same and N different pairs in each of the 10 folds of --pairs", 1, 1e6, "300"},
    CLI_SEED,
    CLI_JOBS,
    CLI_PRESET,
    CLI_LOG,
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-synth", "[OPTION]... -o FILE",
                                           "make labelled photos of faces that do not exist", table};

/* -- options -- */

/* "N" or "A<between>B" with A, B in lo..hi. */
static void two_numbers(const char *option, const char *text, char between, long lo, long hi, int *a, int *b)
{
    const char *p = text;
    long v[2] = {0, 0};
    int n = 0;
    while (n < 2) {
        char *end;
        if (*p < '0' || *p > '9') break;
        errno = 0;
        v[n] = strtol(p, &end, 10);
        if (errno || v[n] < lo || v[n] > hi) break;
        n++;
        p = end;
        if (*p != between) break;
        p++;
    }
    if (n == 0 || *p || p[-1] == between)
        cli_misuse("--%s must be N or N%cN with numbers from %ld to %ld, not '%s'", option, between, lo, hi, text);
    *a = (int)v[0];
    *b = (int)v[n - 1];
}

/* -- pairs -- */

struct fold {
    int64_t first, people; /* whom it is drawn from */
    int64_t same, different; /* pairs that exist */
};

/* Pair number k of those that exist: two photos of one person, or of two. */
static void same_pair(const struct fold *f, uint64_t k, int64_t *person, int *a, int *b)
{
    uint64_t n = (uint64_t)o.photos, each = n * (n - 1) / 2, rest = k % each;
    *person = f->first + (int64_t)(k / each);
    for (*a = 1; rest >= n - (uint64_t)*a; (*a)++) rest -= n - (uint64_t)*a;
    *b = *a + 1 + (int)rest;
}

/* Unordered pairs of people by distance on a circle: every k below people (people - 1) / 2 gives another. */
static void different_pair(const struct fold *f, uint64_t k, int64_t *p, int64_t *q, int *a, int *b)
{
    uint64_t n = (uint64_t)o.photos, people = (uint64_t)f->people;
    *a = 1 + (int)(k % n), k /= n;
    *b = 1 + (int)(k % n), k /= n;
    uint64_t x = k % people, y = (x + 1 + k / people) % people;
    *p = f->first + (int64_t)x;
    *q = f->first + (int64_t)y;
}

/* `count` different numbers below `total`, ascending: Floyd's way (Bentley, 1987). */
static lafs_status choose(struct lafs_rng *r, uint64_t total, int64_t count, uint64_t *out, struct lafs_err *err)
{
    size_t cap = 16;
    while (cap < (size_t)count * 3) cap *= 2;
    uint64_t *table_;
    LAFS_TRY(lafs_alloc0(&table_, cap, sizeof *table_, err)); /* holds number + 1; 0: free */
    for (int64_t i = 0; i < count; i++) {
        uint64_t j = total - (uint64_t)(count - i), v = lafs_rng_below(r, j + 1);
        for (int again = 0; again < 2; again++, v = j) {
            size_t at = (size_t)((v * 0x9E3779B97F4A7C15u) >> 20) & (cap - 1);
            while (table_[at] && table_[at] != v + 1) at = (at + 1) & (cap - 1);
            if (table_[at]) continue; /* taken: then j, which cannot be */
            table_[at] = v + 1;
            out[i] = v;
            break;
        }
    }
    lafs_free(table_);
    return LAFS_OK;
}

static lafs_status write_fold(struct lafs_buf *text, const struct fold *f, int64_t count, uint64_t number,
                              struct lafs_err *err)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key((uint64_t)cli.seed, LAFS_RNG_SYNTH, 4, number, (uint64_t)o.first));
    uint64_t *pick;
    LAFS_TRY(lafs_alloc(&pick, (size_t)count, sizeof *pick, err));
    lafs_status st = choose(&r, (uint64_t)f->same, count, pick, err);
    for (int64_t i = 0; st == LAFS_OK && i < count; i++) {
        int64_t p;
        int a, b;
        char name[LAFS_SYNTH_NAME];
        same_pair(f, pick[i], &p, &a, &b);
        lafs_synth_name((uint64_t)cli.seed, p, name);
        lafs_buf_printf(text, "%s\t%d\t%d\n", name, a, b);
    }
    if (st == LAFS_OK) st = choose(&r, (uint64_t)f->different, count, pick, err);
    for (int64_t i = 0; st == LAFS_OK && i < count; i++) {
        int64_t p, q;
        int a, b;
        char name[2][LAFS_SYNTH_NAME];
        different_pair(f, pick[i], &p, &q, &a, &b);
        lafs_synth_name((uint64_t)cli.seed, p, name[0]);
        lafs_synth_name((uint64_t)cli.seed, q, name[1]);
        lafs_buf_printf(text, "%s\t%d\t%s\t%d\n", name[0], a, name[1], b);
    }
    lafs_free(pick);
    return st;
}

/* Folds share nobody where there are people enough: 2 a fold. */
static lafs_status write_pairs(struct lafs_err *err)
{
    struct fold fold[FOLDS];
    int apart = o.people >= 2 * FOLDS;
    int64_t count = o.fold_pairs, n = o.photos;
    for (int k = 0; k < FOLDS; k++) {
        struct fold *f = &fold[k];
        int64_t from = apart ? o.people * k / FOLDS : 0, to = apart ? o.people * (k + 1) / FOLDS : o.people;
        *f = (struct fold){.first = o.first + from, .people = to - from};
        f->same = f->people * (n * (n - 1) / 2);
        if (f->people > 30000) f->people = 30000; /* keeps the number of pairs in 64 bits */
        f->different = f->people * (f->people - 1) / 2 * n * n;
        if (f->same < count) count = f->same;
        if (f->different < count) count = f->different;
    }
    struct lafs_buf text;
    lafs_buf_init(&text);
    lafs_buf_printf(&text, "%d\t%lld\n", FOLDS, (long long)count);
    lafs_status st = LAFS_OK;
    for (int k = 0; st == LAFS_OK && k < FOLDS; k++) st = write_fold(&text, &fold[k], count, (uint64_t)k, err);
    if (st == LAFS_OK) st = lafs_buf_check(&text, err);
    if (st == LAFS_OK) st = lafs_atomic_put(o.pairs, text.data, text.size, err);
    lafs_buf_release(&text);
    return st;
}

/* -- photos -- */

struct maker {
    const struct lafs_synth *synth;
    int64_t done;                  /* photos before this batch */
    int batch;
    struct lafs_sample *sample;    /* (batch) */
    struct lafs_err *err;          /* (batch) */
    lafs_status *status;           /* (batch) */
    struct lafs_synth_work **work; /* the rest by worker; made on first use */
    struct lafs_synth_photo *photo;
    struct lafs_image *crop;
    struct lafs_buf *jpeg;
};

static const int64_t box_shape[1] = {4}, points_shape[2] = {5, 2}, points68_shape[2] = {68, 2},
                     matrix_shape[2] = {2, 3}, pose_shape[1] = {3};

static void pack_f32(struct lafs_buf *b, const char *name, const int64_t *shape, int ndim, const float *v)
{
    lafs_pack_str(b, name);
    lafs_pack_nd(b, "<f4", shape, ndim, v, sizeof(float));
}

static void set_face(struct lafs_sample *s, const struct lafs_synth_face *f, const float *box, const float *points,
                     const float *points68)
{
    const float pose[3] = {f->yaw, f->pitch, f->roll};
    lafs_sample_set_f32(s, "box", box_shape, 1, box);
    lafs_sample_set_f32(s, "points", points_shape, 2, points);
    lafs_sample_set_f32(s, "points68", points68_shape, 2, points68);
    lafs_sample_set_f32(s, "pose", pose_shape, 1, pose);
}

/* All faces of a photo with several, the named one first. */
static void set_faces(struct lafs_sample *s, const struct lafs_synth_photo *p, const char *name)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_pack_array(&b, (uint32_t)p->faces);
    for (int k = 0; k < p->faces; k++) {
        const struct lafs_synth_face *f = &p->face[k];
        const float pose[3] = {f->yaw, f->pitch, f->roll};
        lafs_pack_map(&b, k == 0 ? 6 : 5);
        if (k == 0) lafs_pack_str(&b, "name"), lafs_pack_str(&b, name);
        pack_f32(&b, "box", box_shape, 1, f->box);
        pack_f32(&b, "points", points_shape, 2, f->points);
        pack_f32(&b, "points68", points68_shape, 2, f->points68);
        pack_f32(&b, "pose", pose_shape, 1, pose);
        lafs_pack_str(&b, "skin"), lafs_pack_int(&b, f->skin);
    }
    if (b.failed) s->buf.failed = 1;
    else lafs_sample_set_raw(s, "faces", b.data, b.size);
    lafs_buf_release(&b);
}

static void set_source(struct lafs_sample *s, const char *key, const struct lafs_synth_photo *p, const double m[6])
{
    struct lafs_buf b;
    float matrix[6];
    for (int i = 0; i < 6; i++) matrix[i] = (float)m[i];
    lafs_buf_init(&b);
    lafs_pack_map(&b, 5);
    lafs_pack_str(&b, "key"), lafs_pack_str(&b, key);
    lafs_pack_str(&b, "size"), lafs_pack_array(&b, 2), lafs_pack_int(&b, p->image.w), lafs_pack_int(&b, p->image.h);
    pack_f32(&b, "box", box_shape, 1, p->face[0].box);
    pack_f32(&b, "points", points_shape, 2, p->face[0].points);
    pack_f32(&b, "matrix", matrix_shape, 2, matrix);
    if (b.failed) s->buf.failed = 1;
    else lafs_sample_set_raw(s, "src", b.data, b.size);
    lafs_buf_release(&b);
}

/* Puts picture and labels into the sample; what the photo as a whole is known for comes from the caller. */
static lafs_status set_picture(struct maker *m, int worker, const char *key, const char *name, struct lafs_sample *s,
                               struct lafs_err *err)
{
    struct lafs_synth_photo *p = &m->photo[worker];
    struct lafs_buf *jpeg = &m->jpeg[worker];
    lafs_buf_clear(jpeg);
    if (!o.aligned) {
        LAFS_TRY(lafs_jpeg_encode(jpeg, &p->image, o.quality ? (int)o.quality : p->quality, err));
        lafs_sample_set_bin(s, "jpg", jpeg->data, jpeg->size);
        set_face(s, &p->face[0], p->face[0].box, p->face[0].points, p->face[0].points68);
        if (p->faces > 1) set_faces(s, p, name);
        return LAFS_OK;
    }
    double matrix[6];
    float points[10], points68[136], box[4];
    LAFS_TRY(lafs_synth_align(p, CROP, &m->crop[worker], matrix, points, points68, box, err));
    LAFS_TRY(lafs_jpeg_encode(jpeg, &m->crop[worker], o.quality ? (int)o.quality : CROP_QUALITY, err));
    lafs_sample_set_bin(s, "jpg", jpeg->data, jpeg->size);
    set_face(s, &p->face[0], box, points, points68);
    set_source(s, key, p, matrix);
    return LAFS_OK;
}

static lafs_status make_one(struct maker *m, int64_t index, int worker, struct lafs_sample *s, struct lafs_err *err)
{
    int64_t person = o.first + index / o.photos, number = 1 + index % o.photos;
    struct lafs_synth_person who;
    char name[LAFS_SYNTH_NAME], key[2 * LAFS_SYNTH_NAME + 32];
    if (!m->work[worker]) LAFS_TRY(lafs_synth_work_new(&m->work[worker], m->synth, err));
    LAFS_TRY(lafs_synth_render(m->synth, m->work[worker], person, number, &m->photo[worker], err));
    lafs_synth_describe(m->synth, person, &who);
    lafs_synth_name((uint64_t)cli.seed, person, name);
    snprintf(key, sizeof key, "%s/%s_%04lld", name, name, (long long)number);
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", key);
    lafs_sample_set_str(s, "name", name);
    LAFS_TRY(set_picture(m, worker, key, name, s, err));
    lafs_sample_set_int(s, "skin", who.skin);
    lafs_sample_set_str(s, "sex", who.male ? "m" : "f");
    lafs_sample_set_int(s, "age", (int64_t)who.age);
    return lafs_sample_check(s, err);
}

static void make(void *arg, int64_t i, int worker)
{
    struct maker *m = arg;
    m->status[i] = make_one(m, m->done + i, worker, &m->sample[i], &m->err[i]);
}

static lafs_status maker_init(struct maker *m, const struct lafs_synth *synth, struct lafs_err *err)
{
    size_t threads = (size_t)lafs_pool_threads(cli_pool()), batch = 8 * threads;
    *m = (struct maker){.synth = synth, .batch = (int)batch};
    LAFS_TRY(lafs_alloc0(&m->sample, batch, sizeof *m->sample, err));
    LAFS_TRY(lafs_alloc0(&m->err, batch, sizeof *m->err, err));
    LAFS_TRY(lafs_alloc0(&m->status, batch, sizeof *m->status, err));
    LAFS_TRY(lafs_alloc0(&m->work, threads, sizeof *m->work, err));
    LAFS_TRY(lafs_alloc0(&m->photo, threads, sizeof *m->photo, err));
    LAFS_TRY(lafs_alloc0(&m->crop, threads, sizeof *m->crop, err));
    LAFS_TRY(lafs_alloc0(&m->jpeg, threads, sizeof *m->jpeg, err));
    for (int i = 0; i < m->batch; i++) lafs_sample_init(&m->sample[i]);
    return LAFS_OK;
}

static void maker_release(struct maker *m)
{
    for (int i = 0; m->sample && i < m->batch; i++) lafs_sample_release(&m->sample[i]);
    for (int k = 0; k < m->batch / 8; k++) {
        if (m->work) lafs_synth_work_free(m->work[k]);
        if (m->photo) lafs_synth_photo_release(&m->photo[k]);
        if (m->crop) lafs_image_release(&m->crop[k]);
        if (m->jpeg) lafs_buf_release(&m->jpeg[k]);
    }
    lafs_free(m->sample);
    lafs_free(m->err);
    lafs_free(m->status);
    lafs_free(m->work);
    lafs_free(m->photo);
    lafs_free(m->crop);
    lafs_free(m->jpeg);
}

static lafs_status open_writer(struct lafs_writer **w, struct lafs_err *err)
{
    struct lafs_header h;
    const char *const *names, *const *values;
    lafs_header_init(&h);
    snprintf(h.pixels.aligner, sizeof h.pixels.aligner, "%s", o.aligned ? "arcface5" : "none");
    snprintf(h.pixels.channels, sizeof h.pixels.channels, "rgb");
    h.pixels.size = o.aligned ? CROP : 0;
    h.seed = cli.seed;
    h.images = o.people * o.photos;
    int n = cli_prov_options(&program, &names, &values);
    lafs_status st = lafs_header_add_prov(&h, program.name, lafs_version, names, values, n, err);
    const struct lafs_writer_options writing = {cli.out, cli.shard_samples, cli.shard_bytes};
    if (st == LAFS_OK) st = lafs_writer_open(w, &writing, &h, err);
    lafs_header_release(&h);
    return st;
}

/* Batches of photos are made in parallel and written in order. */
static lafs_status make_photos(struct maker *m, struct lafs_writer *w, struct lafs_err *err)
{
    int64_t all = o.people * o.photos;
    struct progress progress = {0};
    lafs_status st = LAFS_OK;
    progress_begin(&progress, "photos", all);
    while (st == LAFS_OK && m->done < all) {
        int n = all - m->done < m->batch ? (int)(all - m->done) : m->batch;
        lafs_pool_for(cli_pool(), n, make, m);
        for (int i = 0; st == LAFS_OK && i < n; i++) {
            st = m->status[i];
            if (st != LAFS_OK) *err = m->err[i];
            else st = lafs_writer_put(w, &m->sample[i], err);
        }
        m->done += n;
        progress_update(&progress, m->done);
    }
    progress_end(&progress);
    return st;
}

static lafs_status write_log(double seconds, struct lafs_err *err)
{
    struct jsonlog l;
    LAFS_TRY(jsonlog_open(&l, cli.log, 0, err));
    jsonlog_begin(&l);
    jsonlog_str(&l, "program", program.name);
    jsonlog_str(&l, "version", lafs_version);
    jsonlog_int(&l, "people", o.people);
    jsonlog_int(&l, "written", o.people * o.photos);
    jsonlog_double(&l, "seconds", seconds);
    lafs_status st = jsonlog_end(&l, err), closed = jsonlog_close(&l, st == LAFS_OK ? err : NULL);
    return st == LAFS_OK ? closed : st;
}

static int make_all(const struct lafs_synth *synth)
{
    struct maker m;
    struct lafs_writer *w = NULL;
    struct lafs_err err = {0};
    double started = lafs_clock_now();
    lafs_status st = maker_init(&m, synth, &err);
    if (st == LAFS_OK) st = open_writer(&w, &err);
    if (st == LAFS_OK) st = make_photos(&m, w, &err);
    if (st == LAFS_OK) {
        st = lafs_writer_close(w, &(struct lafs_totals){.count = m.done, .ok = 1}, &err);
        w = NULL;
    }
    if (w) lafs_writer_abort(w);
    maker_release(&m);
    if (st == LAFS_OK) st = write_log(lafs_clock_now() - started, &err);
    if (st != LAFS_OK) return cli_fail(&err);
    cli_warn("%s of %s written", counted(o.people * o.photos, "photos").text, counted(o.people, "people").text);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    int n;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    if (n > 0) cli_misuse("unexpected argument '%s'", args[0]);
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    opt.seed = (uint64_t)cli.seed;
    two_numbers("size", o.size, 'x', LAFS_SYNTH_MIN_SIZE, LAFS_SYNTH_MAX_SIZE, &opt.width, &opt.height);
    two_numbers("faces", o.faces, '-', 1, LAFS_SYNTH_MAX_FACES, &opt.faces_min, &opt.faces_max);
    if (opt.faces_min > opt.faces_max) cli_misuse("--faces %s: the first number must not be the larger one", o.faces);
    if (!cli.out && isatty(STDOUT_FILENO))
        cli_misuse("not writing records to a terminal: name a file with -o, or pipe them on");
    if (!o.pairs && cli_given(&o.fold_pairs)) cli_misuse("--fold-pairs needs --pairs");
    if (o.pairs && (o.people < 2 || o.photos < 2)) cli_misuse("--pairs needs at least 2 people with 2 photos each");
    cli_separate((const char *const *const[]){&o.pairs, &cli.out, &cli.log, NULL});
    struct lafs_synth *synth;
    if (lafs_synth_new(&synth, &opt, &err) != LAFS_OK) return cli_finish(cli_fail(&err));
    int status = o.pairs && write_pairs(&err) != LAFS_OK ? cli_fail(&err) : make_all(synth);
    lafs_synth_free(synth);
    return cli_finish(status);
}
