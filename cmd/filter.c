#include "cmd/filter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/jsonlog.h"
#include "cmd/printing.h"
#include "cmd/progress.h"

enum { SHOWN_REJECTS = 5, MAX_BATCHES = 6 };
enum { PATIENCE = 2 }; /* seconds that a failed program waits for its reading thread */
static const size_t BATCH_BYTES = (size_t)64 << 20;

/* A record that the reader itself found bad: it came before items[at]. */
struct reject {
    int at;
    char key[LAFS_MAX_KEY + 1];
    struct lafs_err err;
};

struct batch {
    struct filter_item *item; /* (size) */
    struct reject *reject;    /* (size) */
    int n, rejects, full;
    lafs_status end;          /* LAFS_OK: more to come; LAFS_END, or what broke the input, with err */
    struct lafs_err err;
};

struct run {
    const struct filter *f;
    struct lafs_reader *reader;
    struct lafs_writer *writer;
    struct batch batch[MAX_BATCHES];
    int batches, size, drain;
    size_t bytes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic int stop;
    int64_t taken;                                   /* reading thread */
    int64_t records, written, bad, no_face, dropped; /* main thread */
    struct jsonlog rejects;
    struct progress progress;
    double started;
    struct lafs_sample whole; /* a result, completed */
};

lafs_status filter_reserve(struct filter_item *it, int n, struct lafs_err *err)
{
    if (n > it->cap) {
        LAFS_TRY(lafs_resize(&it->out, (size_t)it->cap, (size_t)n, sizeof *it->out, err));
        for (; it->cap < n; it->cap++) lafs_sample_init(&it->out[it->cap]);
    }
    it->n = n;
    return LAFS_OK;
}

/* -- the reading thread -- */

static void note_reject(struct batch *b, const char *key)
{
    struct reject *j = &b->reject[b->rejects++];
    j->at = b->n;
    size_t n = strlen(key) < LAFS_MAX_KEY ? strlen(key) : LAFS_MAX_KEY;
    memcpy(j->key, key, n);
    j->key[n] = 0;
    j->err = b->err;
}

static void fill(struct run *r, struct batch *b)
{
    size_t bytes = 0;
    b->n = b->rejects = 0;
    b->end = LAFS_OK;
    while (b->n + b->rejects < r->size && bytes < r->bytes && !atomic_load(&r->stop)) {
        struct lafs_sample *s = &b->item[b->n].in;
        int enough = cli.take >= 0 && r->taken == cli.take;
        if (enough && !r->drain) {
            b->end = LAFS_END;
            return;
        }
        const struct filter_source *from = r->f->source;
        lafs_status st = from ? from->next(from->arg, s, &b->err) : lafs_reader_next(r->reader, s, &b->err);
        if (st == LAFS_BAD_RECORD) {
            if (!enough) note_reject(b, lafs_sample_key(s));
        } else if (st != LAFS_OK) {
            b->end = st;
            return;
        } else if (!enough) {
            b->n++;
            r->taken++;
            bytes += s->buf.size;
        }
    }
}

static void *read_ahead(void *arg)
{
    struct run *r = arg;
    lafs_status end = LAFS_OK;
    for (int k = 0; end == LAFS_OK && !atomic_load(&r->stop); k = (k + 1) % r->batches) {
        struct batch *b = &r->batch[k];
        pthread_mutex_lock(&r->lock);
        while (b->full && !atomic_load(&r->stop)) pthread_cond_wait(&r->changed, &r->lock);
        pthread_mutex_unlock(&r->lock);
        if (atomic_load(&r->stop)) break;
        fill(r, b);
        end = b->end;
        pthread_mutex_lock(&r->lock);
        b->full = 1;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

/* -- work and output -- */

static void work_on_one(void *arg, int64_t i, int worker)
{
    struct run *r = ((void **)arg)[0];
    struct filter_item *it = &((struct batch *)((void **)arg)[1])->item[i];
    it->status = r->f->each(r->f->arg, it, worker);
}

static lafs_status work(struct run *r, struct batch *b)
{
    struct lafs_err err;
    for (int i = 0; i < b->n; i++) {
        struct filter_item *it = &b->item[i];
        for (int k = 0; k < it->cap; k++) lafs_sample_clear(&it->out[k]);
        it->verdict = FILTER_KEEP;
        it->status = LAFS_OK;
        it->err = (struct lafs_err){0};
        if (filter_reserve(it, 1, &err) != LAFS_OK) return cli_fail(&err), LAFS_FAILED;
    }
    if (b->n == 0) return LAFS_OK;
    if (r->f->all) {
        lafs_status st = r->f->all(r->f->arg, b->item, b->n);
        if (st != LAFS_OK) cli_fail(&b->item[0].err);
        return st;
    }
    lafs_pool_for(cli_pool(), b->n, work_on_one, (void *[]){r, b});
    return LAFS_OK;
}

static lafs_status reject(struct run *r, const char *key, const char *reason, struct lafs_err *err)
{
    r->bad++;
    jsonlog_begin(&r->rejects);
    jsonlog_str(&r->rejects, "key", key);
    jsonlog_str(&r->rejects, "reason", reason);
    if (r->bad <= SHOWN_REJECTS) cli_warn("skipping '%s': %s", key, reason);
    if (r->bad == SHOWN_REJECTS + 1)
        cli_warn("skipping more, without further messages%s", cli.rejects ? "" : "; --rejects FILE lists all");
    return jsonlog_end(&r->rejects, err);
}

static lafs_status put(struct run *r, const struct filter_item *it, const struct lafs_sample *s, struct lafs_err *err)
{
    lafs_status st = lafs_sample_check(s, err);
    if (st == LAFS_OK) st = lafs_writer_put(r->writer, s, err);
    if (st == LAFS_BAD_RECORD) {
        struct lafs_err why = *err;
        const char *key = lafs_sample_key(s);
        return reject(r, key[0] ? key : lafs_sample_key(&it->in), why.msg, err);
    }
    if (st == LAFS_OK) r->written++;
    return st;
}

static lafs_status put_result(struct run *r, const struct filter_item *it, const struct lafs_sample *s,
                              struct lafs_err *err)
{
    if (!r->f->complete || lafs_sample_check(s, err) != LAFS_OK) return put(r, it, s, err);
    LAFS_TRY(lafs_sample_copy(&r->whole, s, err));
    r->f->complete(r->f->arg, it, &r->whole);
    return put(r, it, &r->whole, err);
}

static lafs_status write_item(struct run *r, const struct filter_item *it, struct lafs_err *err)
{
    if (it->status == LAFS_BAD_RECORD) return reject(r, lafs_sample_key(&it->in), it->err.msg, err);
    if (it->status != LAFS_OK) {
        *err = it->err;
        return it->status;
    }
    if (it->verdict == FILTER_NO_FACE) r->no_face++;
    if (it->verdict == FILTER_DROP) r->dropped++;
    if (it->verdict != FILTER_KEEP) return LAFS_OK;
    if (it->n == 1 && it->out[0].count == 0 && !it->out[0].failed) return put(r, it, &it->in, err);
    for (int k = 0; k < it->n; k++) LAFS_TRY(put_result(r, it, &it->out[k], err));
    return LAFS_OK;
}

/* Items are used again: those that held something large give it back, or all of them come to hold as much. */
static void shrink(const struct run *r, struct lafs_sample *s)
{
    if (s->buf.cap > r->bytes / 16) lafs_sample_release(s);
}

static lafs_status write_batch(struct run *r, struct batch *b, struct lafs_err *err)
{
    const struct reject *j = b->reject, *end = j + b->rejects;
    for (int i = 0; i <= b->n; i++) {
        for (; j < end && j->at == i; j++) LAFS_TRY(reject(r, j->key, j->err.msg, err));
        if (i == b->n) break;
        struct filter_item *it = &b->item[i];
        LAFS_TRY(write_item(r, it, err));
        shrink(r, &it->in);
        for (int k = 0; k < it->n; k++) shrink(r, &it->out[k]);
    }
    r->records += b->n + b->rejects;
    progress_update(&r->progress, r->records);
    return LAFS_OK;
}

/* Until the end of the input. Gives an exit status; has said what was wrong. */
static int loop(struct run *r)
{
    for (int k = 0;; k = (k + 1) % r->batches) {
        struct batch *b = &r->batch[k];
        struct lafs_err err = {0};
        pthread_mutex_lock(&r->lock);
        while (!b->full) pthread_cond_wait(&r->changed, &r->lock);
        pthread_mutex_unlock(&r->lock);
        lafs_status st = work(r, b);
        if (st != LAFS_OK) return st == LAFS_USAGE ? EXIT_MISUSE : EXIT_FAILED;
        if (write_batch(r, b, &err) != LAFS_OK) return cli_fail(&err);
        if (b->end == LAFS_END) return EXIT_DONE;
        if (b->end != LAFS_OK) return cli_fail(&b->err);
        pthread_mutex_lock(&r->lock);
        b->full = 0;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
}

/* After a failure the reading thread may be waiting for input that does not come: then leave without it. */
static void end_reading(struct run *r, int status)
{
    struct timespec until;
    atomic_store(&r->stop, 1);
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (status == EXIT_DONE) {
        pthread_join(r->thread, NULL);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    if (pthread_timedjoin_np(r->thread, NULL, &until)) {
        lafs_writer_abort(r->writer);
        exit(status);
    }
}

/* -- the frame -- */

static lafs_status make_batches(struct run *r, struct lafs_err *err)
{
    r->size = r->f->batch > 0 ? r->f->batch : 16 * lafs_pool_threads(cli_pool());
    r->bytes = r->f->batch_bytes > 0 ? r->f->batch_bytes : BATCH_BYTES;
    r->batches = r->f->batches > 0 ? r->f->batches : 2;
    for (int k = 0; k < r->batches; k++) {
        struct batch *b = &r->batch[k];
        LAFS_TRY(lafs_alloc0(&b->item, (size_t)r->size, sizeof *b->item, err));
        LAFS_TRY(lafs_alloc0(&b->reject, (size_t)r->size, sizeof *b->reject, err));
        for (int i = 0; i < r->size; i++) lafs_sample_init(&b->item[i].in);
    }
    return LAFS_OK;
}

static void free_batches(struct run *r)
{
    for (int k = 0; k < r->batches; k++) {
        struct batch *b = &r->batch[k];
        for (int i = 0; b->item && i < r->size; i++) {
            lafs_sample_release(&b->item[i].in);
            for (int o = 0; o < b->item[i].cap; o++) lafs_sample_release(&b->item[i].out[o]);
            lafs_free(b->item[i].out);
        }
        lafs_free(b->item);
        lafs_free(b->reject);
    }
}

static lafs_status add_provenance(struct lafs_header *h, const struct cli_program *p, const char *const *digest_names,
                                  const char *const *digest_values, int ndigests, struct lafs_err *err)
{
    const char *const *names, *const *values, **all;
    int n = cli_prov_options(p, &names, &values), total = 0;
    LAFS_TRY(lafs_alloc(&all, 2 * (size_t)(n + ndigests), sizeof *all, err));
    for (int i = 0; i < n + ndigests; i++) {
        int given = 0; /* a digest stands in for the path of the option of its name */
        for (int k = 0; k < ndigests && i < n; k++) given |= !strcmp(names[i], digest_names[k]);
        if (given) continue;
        all[total] = i < n ? names[i] : digest_names[i - n];
        all[n + ndigests + total++] = i < n ? values[i] : digest_values[i - n];
    }
    lafs_status st = lafs_header_add_prov(h, p->name, lafs_version, all, all + n + ndigests, total, err);
    lafs_free(all);
    return st;
}

/* The header of the output: the input's, as the program sets it, and who we are. */
static lafs_status make_header(struct run *r, struct lafs_header *out, struct lafs_err *err)
{
    const struct filter *f = r->f;
    const struct lafs_header *in = f->source ? f->source->header : lafs_reader_header(r->reader);
    LAFS_TRY(lafs_header_copy(out, in, err));
    if (f->header) LAFS_TRY(f->header(f->arg, in, out, err));
    if (f->source) return LAFS_OK;
    if (f->first) {
        struct lafs_sample s;
        lafs_sample_init(&s);
        lafs_status st = lafs_reader_peek(r->reader, &s, err);
        if (st == LAFS_OK || st == LAFS_END)
            st = f->first(f->arg, st == LAFS_OK ? &s : NULL, in, out, err);
        lafs_sample_release(&s);
        LAFS_TRY(st);
    }
    if (f->same_pixels) lafs_reader_expect_pixels(r->reader, &out->pixels);
    return LAFS_OK;
}

/* Nothing that is read is replaced by what is written. */
static lafs_status spare(const char *const *inputs, int n, struct lafs_err *err)
{
    LAFS_TRY(lafs_writer_spares(cli.out, inputs, n, err));
    if (cli.rejects) LAFS_TRY(lafs_writer_spares(cli.rejects, inputs, n, err));
    return cli.log ? lafs_writer_spares(cli.log, inputs, n, err) : LAFS_OK;
}

static lafs_status open_all(struct run *r, const char *const *args, int nargs, const char *const *digest_names,
                            const char *const *digest_values, int ndigests, struct lafs_err *err)
{
    static const char *const standard_input[] = {"-"};
    const struct filter *f = r->f;
    struct lafs_header out;
    const char *const *list = f->reading && f->reading->list ? &f->reading->list : NULL;
    if (nargs == 0 && !list && !f->source) args = standard_input, nargs = 1;
    LAFS_TRY(spare(args, nargs, err));
    if (list) LAFS_TRY(spare(list, 1, err));
    if (f->source) nargs = 0;
    for (int i = 0; i < nargs; i++) r->drain |= cli_has_writer(args[i]);
    struct lafs_reader_options reading = {0};
    if (f->reading) reading = *f->reading;
    if (!reading.note) reading.note = cli_say;
    if (!f->source) LAFS_TRY(lafs_reader_open(&r->reader, args, nargs, &reading, err));
    LAFS_TRY(make_batches(r, err));
    lafs_header_init(&out);
    lafs_status st = make_header(r, &out, err);
    if (st == LAFS_OK) st = add_provenance(&out, f->program, digest_names, digest_values, ndigests, err);
    if (st == LAFS_OK) st = jsonlog_open(&r->rejects, cli.rejects, 0, err);
    const struct lafs_writer_options writing = {cli.out, cli.shard_samples, cli.shard_bytes};
    if (st == LAFS_OK) st = lafs_writer_open(&r->writer, &writing, &out, err);
    lafs_header_release(&out);
    return st;
}

static lafs_status write_log(const struct run *r, struct lafs_err *err)
{
    struct jsonlog l;
    LAFS_TRY(jsonlog_open(&l, cli.log, 0, err));
    jsonlog_begin(&l);
    jsonlog_str(&l, "program", cli_program_name());
    jsonlog_str(&l, "version", lafs_version);
    jsonlog_int(&l, "records", r->records);
    jsonlog_int(&l, "written", r->written);
    jsonlog_int(&l, "bad", r->bad);
    jsonlog_int(&l, "no_face", r->no_face);
    jsonlog_int(&l, "dropped", r->dropped);
    jsonlog_double(&l, "seconds", lafs_clock_now() - r->started);
    lafs_status st = jsonlog_end(&l, err), closed = jsonlog_close(&l, st == LAFS_OK ? err : NULL);
    return st == LAFS_OK ? closed : st;
}

static void print_summary(const struct run *r, int ok)
{
    char extra[200] = "";
    size_t n = 0;
    const struct {
        int64_t count;
        const char *text;
    } part[] = {{r->no_face, "without a face"}, {r->dropped, "dropped"}, {r->bad, "bad"}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].count)
            n += (size_t)snprintf(extra + n, sizeof extra - n, ", %lld %s", (long long)part[i].count, part[i].text);
    const char *first;
    int64_t ignored = r->reader ? lafs_reader_ignored(r->reader, &first) : 0;
    if (ignored)
        cli_warn("%s %s passed over, the first is '%s'", counted(ignored, "files that are no samples").text,
                 ignored == 1 ? "was" : "were", first);
    cli_warn("%s read, %lld written%s", counted(r->records, r->f->what ? r->f->what : "records").text,
             (long long)r->written, extra);
    if (!ok)
        cli_error("%lld of %lld records were bad, more than --max-bad %g allows: the output is not valid",
                  (long long)r->bad, (long long)r->records, cli.max_bad);
}

/* Trailer and index, logs, the last words. */
static int finish(struct run *r)
{
    struct lafs_err err = {0};
    struct lafs_totals t = {0};
    if (r->reader) t = *lafs_reader_totals(r->reader);
    t.count = r->written;
    t.skipped += r->bad;
    t.no_face += r->no_face;
    t.ok = (double)r->bad <= cli.max_bad * (double)r->records;
    lafs_status st = jsonlog_close(&r->rejects, &err);
    if (st == LAFS_OK) {
        st = lafs_writer_close(r->writer, &t, &err);
        r->writer = NULL;
    }
    if (st == LAFS_OK) st = write_log(r, &err);
    if (st != LAFS_OK) return cli_fail(&err);
    print_summary(r, t.ok);
    return t.ok ? EXIT_DONE : EXIT_FAILED;
}

static int run(struct run *r)
{
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->started = lafs_clock_now();
    int64_t expected = r->f->source ? r->f->source->expected : lafs_reader_expected(r->reader);
    if (cli.take >= 0 && (expected < 0 || expected > cli.take)) expected = cli.take;
    progress_begin(&r->progress, r->f->what ? r->f->what : "records", expected);
    if (pthread_create(&r->thread, NULL, read_ahead, r)) {
        cli_error("cannot start a thread");
        return EXIT_FAILED;
    }
    int status = loop(r);
    progress_end(&r->progress);
    end_reading(r, status);
    return status == EXIT_DONE ? finish(r) : status;
}

int filter_run(const struct filter *f, const char *const *args, int nargs, const char *const *digest_names,
               const char *const *digest_values, int ndigests)
{
    struct run r = {.f = f};
    struct lafs_err err = {0};
    if (nargs == 0 && !f->source && !(f->reading && f->reading->list) && isatty(STDIN_FILENO))
        cli_misuse("no input: name files, or pipe a stream in");
    if (!cli.out && isatty(STDOUT_FILENO))
        cli_misuse("not writing records to a terminal: name a file with -o, or pipe them on");
    lafs_status st = open_all(&r, args, nargs, digest_names, digest_values, ndigests, &err);
    int status = st == LAFS_OK ? run(&r) : cli_fail(&err);
    if (r.writer) lafs_writer_abort(r.writer);
    struct lafs_err ignored;
    (void)jsonlog_close(&r.rejects, &ignored);
    lafs_reader_close(r.reader);
    free_batches(&r);
    lafs_sample_release(&r.whole);
    return status;
}
