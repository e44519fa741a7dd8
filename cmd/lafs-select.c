/* lafs-select: choose samples of an index, and write an index of them, or pairs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/jsonlog.h"
#include "cmd/openindex.h"
#include "cmd/printing.h"
#include "cmd/selectlook.h"
#include "data/index.h"
#include "data/select.h"
#include "data/stream.h"

enum { MAX_PARTS = 16 };

static struct {
    const char *keys, *people, *not_people, *hash, *not_hash, *identities, *split, *pairs, *dropped;
    struct cli_list not_near;
    int unique;
    double min, min_quality;
    int64_t shots, min_images, fold_pairs;
} o = {.min = -1, .fold_pairs = 300};

static const struct cli_option table[] = {
    {"output", 'o', CLI_STRING, &cli.out, "FILE", "write the index to FILE; with --split, %s in it is the part's name"},
    {"keys", 0, CLI_STRING, &o.keys, "FILE", "keep the samples whose keys FILE lists, one a line"},
    {"people", 0, CLI_STRING, &o.people, "FILE", "keep the people that FILE lists, one name a line"},
    {"not-people", 0, CLI_STRING, &o.not_people, "FILE", "leave out the people that FILE lists"},
    {"hash", 0, CLI_STRING, &o.hash, "M:R,..", "keep people whose FNV-1a-64 of the name modulo M is among R"},
    {"not-hash", 0, CLI_STRING, &o.not_hash, "M:R,..", "leave out people whose FNV-1a-64 modulo M is among R"},
    {"not-near", 0, CLI_LIST, &o.not_near, "INPUT", "leave out near-duplicates of the pictures in INPUT"},
    {"unique", 0, CLI_FLAG, &o.unique, NULL, "of near-duplicates among the samples keep one", 0, 0, NULL},
    {"min", 0, CLI_DOUBLE, &o.min, "S", "correlation from which a picture is a near-duplicate", 0.05, 1,
     "0.9, unique 0.97"},
    {"min-quality", 0, CLI_DOUBLE, &o.min_quality, "Q", "leave out faces of a quality below Q, or of none", 0, 1},
    {"min-images", 0, CLI_INT, &o.min_images, "N", "leave out people of fewer than N images", 1, 1e15},
    {"identities", 0, CLI_STRING, &o.identities, "N or SHARE%", "keep N people, or a share of them in per cent"},
    {"shots", 0, CLI_INT, &o.shots, "K", "keep K images a person, or all where there are fewer", 1, 1e15},
    {"split", 0, CLI_STRING, &o.split, "NAME=W,..", "split by person into parts of such weights, an index each"},
    {"pairs", 0, CLI_STRING, &o.pairs, "FILE", "write pairs of the photos that are kept to FILE, for lafs-verify"},
    {"fold-pairs", 0, CLI_INT, &o.fold_pairs, "N",
     "at most N same and N different pairs in each of the 10 folds of --pairs", 1, 1e6, "300"},
    {"dropped", 0, CLI_STRING, &o.dropped, "FILE", "list what is left out, and why, in FILE as JSON lines"},
    CLI_SEED,
    CLI_JOBS,
    CLI_MAX_BAD,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-select", "[OPTION]... -o FILE|--pairs FILE INDEX|TAR...",
                                           "choose samples of indexes, and write an index of them", table};

/* Of --split. */
struct part {
    char name[64];
    double until; /* cumulative weight, of 1 */
};

struct job {
    struct part part[MAX_PARTS];
    int parts;              /* 0: all goes into one index */
    struct lafs_index **ix; /* (n) the inputs */
    int n;
    struct lafs_index *all;
    struct lafs_select s;
    struct looking looking;
};

/* ---- other choices ---- */

static lafs_status by_list(struct job *j, const char *path, int keep, struct lafs_err *err)
{
    struct lafs_people *p;
    int64_t found;
    if (!path) return LAFS_OK;
    LAFS_TRY(lafs_people_read(&p, path, err));
    lafs_select_people(&j->s, p, keep, &found);
    cli_note("%lld of %lld people of '%s' are in the index", (long long)found, (long long)lafs_people_count(p), path);
    if (found == 0) cli_warn("nobody of '%s' is in the index", path);
    lafs_people_free(p);
    return LAFS_OK;
}

static lafs_status by_keys(struct job *j, struct lafs_err *err)
{
    struct lafs_people *keys;
    int64_t found;
    if (!o.keys) return LAFS_OK;
    LAFS_TRY(lafs_people_read(&keys, o.keys, err));
    lafs_select_keys(&j->s, keys, &found);
    if (found < lafs_people_count(keys))
        cli_warn("%lld of %lld keys of '%s' are in no index", (long long)(lafs_people_count(keys) - found),
                 (long long)lafs_people_count(keys), o.keys);
    lafs_people_free(keys);
    return LAFS_OK;
}

static lafs_status by_hash(struct job *j, const char *text, int keep, struct lafs_err *err)
{
    int64_t m;
    uint8_t *in;
    if (!text) return LAFS_OK;
    LAFS_TRY(lafs_select_parse_hash(text, &m, &in, err));
    lafs_select_hash(&j->s, m, in, keep);
    lafs_free(in);
    return LAFS_OK;
}

/* "10%" or "500". */
static lafs_status parse_identities(const char *text, int64_t *n, double *share, struct lafs_err *err)
{
    const char *p = text;
    int64_t whole = 0, part = 0, scale = 1;
    int digits = 0, point = 0;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = 1;
        } else if (digits++ < 15) {
            if (point) part = part * 10 + (*p - '0'), scale *= 10;
            else whole = whole * 10 + (*p - '0');
        }
    }
    *share = ((double)whole + (double)part / (double)scale) / 100;
    *n = -1;
    if (digits > 0 && digits <= 15 && strcmp(p, "%") == 0 && *share > 0 && *share <= 1) return LAFS_OK;
    *n = whole;
    if (digits > 0 && digits <= 15 && !*p && !point && whole > 0) return LAFS_OK;
    return lafs_fail(err, LAFS_USAGE, "--identities '%s': a number of people, or a share like 10%%", text);
}

static lafs_status choose(struct job *j, struct lafs_err *err)
{
    int64_t n = -1;
    double share = 0;
    LAFS_TRY(by_keys(j, err));
    LAFS_TRY(by_list(j, o.people, 1, err));
    LAFS_TRY(by_list(j, o.not_people, 0, err));
    LAFS_TRY(by_hash(j, o.hash, 1, err));
    LAFS_TRY(by_hash(j, o.not_hash, 0, err));
    if (o.identities) LAFS_TRY(parse_identities(o.identities, &n, &share, err));
    looking_init(&j->looking, &j->s);
    if (o.min_quality) LAFS_TRY(looking_quality(&j->looking, o.min_quality, err));
    if (o.not_near.n) LAFS_TRY(looking_near(&j->looking, &o.not_near, o.min > 0 ? o.min : 0.9, err));
    if (o.unique) LAFS_TRY(looking_unique(&j->looking, o.min > 0 ? o.min : 0.97, err));
    if (o.min_images) LAFS_TRY(lafs_select_min_images(&j->s, o.min_images, err));
    if (o.identities) LAFS_TRY(lafs_select_identities(&j->s, n, share, err));
    if (o.shots) LAFS_TRY(lafs_select_shots(&j->s, o.shots, err));
    return LAFS_OK;
}

/* ---- output ---- */

static lafs_status parse_split(const char *text, struct part *part, int *n, struct lafs_err *err)
{
    const char *p = text;
    double sum = 0;
    for (*n = 0;; (*n)++) {
        size_t len = strcspn(p, "=,");
        if (*n == MAX_PARTS || len == 0 || len >= sizeof part->name || p[len] != '=' || memchr(p, '/', len)) break;
        memcpy(part[*n].name, p, len);
        part[*n].name[len] = 0;
        for (int i = 0; i < *n; i++)
            if (!strcmp(part[i].name, part[*n].name))
                return lafs_fail(err, LAFS_USAGE, "--split '%s': two parts are called '%s'", text, part[i].name);
        p += len + 1;
        int64_t weight = 0;
        if (*p < '0' || *p > '9') break;
        for (; *p >= '0' && *p <= '9' && weight < 1000000; p++) weight = weight * 10 + (*p - '0');
        part[*n].until = sum += (double)weight;
        if (weight == 0 || (*p && *p != ',')) break;
        if (*p++) continue;
        for (int i = 0; i <= *n; i++) part[i].until /= sum;
        (*n)++;
        return LAFS_OK;
    }
    return lafs_fail(err, LAFS_USAGE, "--split '%s': write NAME=WEIGHT,NAME=WEIGHT.., as in train=80,val=20", text);
}

static int64_t people_of(const struct job *j, const uint8_t *take, uint8_t *seen)
{
    int64_t n = 0;
    memset(seen, 0, (size_t)j->s.people);
    for (int64_t i = 0; i < j->all->samples; i++) {
        if (!take[i] || j->s.person[i] < 0 || seen[j->s.person[i]]) continue;
        seen[j->s.person[i]] = 1;
        n++;
    }
    return n;
}

static lafs_status write_part(struct job *j, const uint8_t *take, uint8_t *seen, const char *path, struct lafs_err *err)
{
    struct lafs_index *ix;
    LAFS_TRY(lafs_index_subset(&ix, j->all, take, path, err));
    int64_t samples = ix->samples;
    lafs_status st = samples ? lafs_index_write(ix, path, err)
                             : lafs_fail(err, LAFS_FAILED, "nothing is left for '%s'; it was not written", path);
    lafs_index_free(ix);
    if (st == LAFS_OK)
        cli_warn("'%s': %s of %s", path, counted(samples, "images").text,
                 counted(people_of(j, take, seen), "people").text);
    return st;
}

/* How many indexes are written: none where pairs are all that is wanted. */
static int outputs(const struct job *j) { return !cli.out ? 0 : j->parts ? j->parts : 1; }

/* Where part k goes, into an initialised buffer; NULL when out of memory. */
static const char *part_path(const struct job *j, int k, struct lafs_buf *b)
{
    const char *percent = strstr(cli.out, "%s");
    lafs_buf_clear(b);
    lafs_buf_put(b, cli.out, percent && j->parts ? (size_t)(percent - cli.out) : strlen(cli.out));
    if (j->parts) {
        lafs_buf_puts(b, j->part[k].name);
        lafs_buf_puts(b, percent + 2);
    }
    return lafs_buf_str(b);
}

static int in_part(const struct job *j, int k, int64_t i)
{
    if (j->s.drop[i] != LAFS_KEPT) return 0;
    if (!j->parts) return 1;
    double at = lafs_select_place(&j->s, i);
    return at < j->part[k].until && (k == 0 || at >= j->part[k - 1].until);
}

static lafs_status write_parts(struct job *j, uint8_t *take, uint8_t *seen, struct lafs_err *err)
{
    struct lafs_buf path;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&path);
    for (int k = 0; st == LAFS_OK && k < outputs(j); k++) {
        for (int64_t i = 0; i < j->all->samples; i++) take[i] = (uint8_t)in_part(j, k, i);
        const char *p = part_path(j, k, &path);
        st = p ? write_part(j, take, seen, p, err) : lafs_buf_check(&path, err);
    }
    lafs_buf_release(&path);
    return st;
}

static lafs_status spare(const char *out, const char *const *args, int n, struct lafs_err *err)
{
    LAFS_TRY(lafs_writer_spares(out, args, n, err));
    return lafs_writer_spares(out, o.not_near.v, o.not_near.n, err);
}

/* Nothing that is read, neither an index nor its shards, is replaced by what is written. */
static lafs_status spare_inputs(struct job *j, const char *const *args, int n, struct lafs_err *err)
{
    struct lafs_buf path;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&path);
    for (int k = 0; st == LAFS_OK && k < outputs(j); k++) {
        const char *p = part_path(j, k, &path);
        st = p ? spare(p, args, n, err) : lafs_buf_check(&path, err);
    }
    lafs_buf_release(&path);
    if (st == LAFS_OK && o.pairs) st = spare(o.pairs, args, n, err);
    if (st == LAFS_OK && o.dropped) st = spare(o.dropped, args, n, err);
    return st;
}

static lafs_status write_pairs(const struct job *j, struct lafs_err *err)
{
    struct lafs_buf text;
    struct lafs_drawn_pairs drawn;
    if (!o.pairs) return LAFS_OK;
    lafs_buf_init(&text);
    lafs_status st = lafs_select_pairs(&j->s, o.fold_pairs, &text, &drawn, err);
    if (st == LAFS_OK) st = lafs_atomic_put(o.pairs, text.data, text.size, err);
    lafs_buf_release(&text);
    if (st != LAFS_OK) return lafs_err_prefix(err, "'%s'", o.pairs);
    cli_warn("'%s': %lld same and %lld different pairs of %lld people%s", o.pairs, (long long)drawn.of_a_kind,
             (long long)drawn.of_a_kind, (long long)drawn.people,
             drawn.apart ? ", nobody in two folds" : "; people are in several folds: fewer than 20 have two photos");
    return LAFS_OK;
}

static const char *const reasons[LAFS_DROPS] = {
    [LAFS_KEPT] = "kept",
    [LAFS_DROP_NAMELESS] = "without a name",
    [LAFS_DROP_KEYS] = "not on the list of --keys",
    [LAFS_DROP_PEOPLE] = "not on the list of --people",
    [LAFS_DROP_NOT_PEOPLE] = "by --not-people",
    [LAFS_DROP_HASH] = "by their hash",
    [LAFS_DROP_NEAR] = "near-duplicates",
    [LAFS_DROP_TWIN] = "near-duplicates of others that stay",
    [LAFS_DROP_QUALITY] = "of a quality below --min-quality",
    [LAFS_DROP_FEW] = "of people with fewer than --min-images",
    [LAFS_DROP_IDENTITIES] = "of people not drawn",
    [LAFS_DROP_SHOTS] = "beyond --shots",
    [LAFS_DROP_BAD] = "that cannot be read",
};

static void report(const struct job *j)
{
    int64_t count[LAFS_DROPS] = {0};
    for (int64_t i = 0; i < j->all->samples; i++) count[j->s.drop[i]]++;
    cli_warn("%s of %s read", counted(j->all->samples, "images").text, counted(j->s.people, "people").text);
    for (int k = 1; k < LAFS_DROPS; k++)
        if (count[k]) cli_warn("left out %lld %s", (long long)count[k], reasons[k]);
}

static lafs_status list_dropped(const struct job *j, struct lafs_err *err)
{
    struct jsonlog l;
    if (!o.dropped) return LAFS_OK;
    LAFS_TRY(jsonlog_open(&l, o.dropped, 0, err));
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < j->all->samples && st == LAFS_OK; i++) {
        if (j->s.drop[i] == LAFS_KEPT) continue;
        jsonlog_begin(&l);
        jsonlog_str(&l, "key", j->all->sample[i].key);
        jsonlog_str(&l, "name", j->all->sample[i].name);
        jsonlog_str(&l, "reason", reasons[j->s.drop[i]]);
        if (j->s.drop[i] == LAFS_DROP_NEAR || j->s.drop[i] == LAFS_DROP_TWIN) {
            jsonlog_str(&l, "near", j->looking.like[i].key);
            if (*j->looking.like[i].name) jsonlog_str(&l, "near_name", j->looking.like[i].name);
            jsonlog_double(&l, "correlation", round(j->looking.like[i].correlation * 1e4) / 1e4);
        }
        st = jsonlog_end(&l, err);
    }
    struct lafs_err ignored;
    lafs_status closed = jsonlog_close(&l, st == LAFS_OK ? err : &ignored);
    return st == LAFS_OK ? closed : st;
}

/* ---- */

static lafs_status open_inputs(struct job *j, char **args, int n, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(&j->ix, (size_t)n, sizeof *j->ix, err));
    for (; j->n < n; j->n++) LAFS_TRY(openindex(&j->ix[j->n], args[j->n], err));
    return lafs_index_join(&j->all, j->ix, n, err);
}

/* Every picture is a near-duplicate of itself: nothing would be left. */
static lafs_status check_near(char **args, int n, struct lafs_err *err)
{
    int both = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < o.not_near.n; k++)
            if (cli_one_file(args[i], o.not_near.v[k])) {
                both++;
                break;
            }
    return both < n ? LAFS_OK
                    : lafs_fail(err, LAFS_USAGE, "--not-near '%s' is the input itself: nothing of it would be left "
                                "(--unique keeps one of those that are there twice)", o.not_near.v[0]);
}

static lafs_status run(struct job *j, char **args, int n, struct lafs_err *err)
{
    LAFS_TRY(check_near(args, n, err));
    uint8_t *take = NULL, *seen = NULL;
    if (o.split) LAFS_TRY(parse_split(o.split, j->part, &j->parts, err));
    LAFS_TRY(spare_inputs(j, (const char *const *)args, n, err));
    LAFS_TRY(open_inputs(j, args, n, err));
    LAFS_TRY(lafs_select_init(&j->s, j->all, (uint64_t)cli.seed, err));
    LAFS_TRY(choose(j, err));
    report(j);
    LAFS_TRY(list_dropped(j, err));
    LAFS_TRY(write_pairs(j, err));
    lafs_status st = lafs_alloc(&take, (size_t)j->all->samples, 1, err);
    if (st == LAFS_OK) st = lafs_alloc(&seen, (size_t)j->s.people, 1, err);
    if (st == LAFS_OK) st = write_parts(j, take, seen, err);
    lafs_free(take);
    lafs_free(seen);
    return st;
}

static void release(struct job *j)
{
    looking_release(&j->looking);
    lafs_select_release(&j->s);
    lafs_index_free(j->all);
    for (int i = 0; i < j->n; i++) lafs_index_free(j->ix[i]);
    lafs_free(j->ix);
}

int main(int argc, char **argv)
{
    int n;
    char **args = cli_parse(&program, argc, argv, &n);
    struct job j = {.n = 0};
    struct lafs_err err = {0};
    if (n == 0) cli_misuse("no index: name one, or a tar");
    if (!cli.out && !o.pairs) cli_misuse("-o FILE is missing: paths in an index are relative to it");
    cli_separate((const char *const *const[]){&o.pairs, &cli.out, &o.dropped, NULL});
    if (!o.pairs && cli_given(&o.fold_pairs)) cli_misuse("--fold-pairs needs --pairs");
    if (!o.not_near.n && !o.unique && cli_given(&o.min)) cli_misuse("--min needs --not-near or --unique");
    if (o.split && o.pairs) cli_misuse("--pairs does not go with --split: give it the index of a part");
    if (!o.split != !(cli.out && strstr(cli.out, "%s")))
        cli_misuse("--split goes with -o NAME-%%s.lafs, and %%s with --split");
    lafs_status st = run(&j, args, n, &err);
    int status = st == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    release(&j);
    return cli_finish(status);
}
