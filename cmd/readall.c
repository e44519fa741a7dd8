#include "cmd/readall.h"

#include <unistd.h>

#include "cmd/jsonlog.h"
#include "cmd/progress.h"

enum { SHOWN_REJECTS = 5 };

struct state {
    const struct readall *r;
    struct lafs_reader *reader;
    struct lafs_sample sample;
    struct jsonlog rejects;
    struct progress progress;
    struct readall_totals *totals;
    int headers; /* that made_by was told of */
    int must_drain; /* some input is a pipe: its producer must not be cut off */
};

static lafs_status reject(struct state *s, struct lafs_err *err)
{
    const char *key = lafs_sample_key(&s->sample);
    struct lafs_err why = *err;
    s->totals->bad++;
    if (s->totals->bad <= SHOWN_REJECTS) cli_warn("skipping '%s': %s", key, why.msg);
    if (s->totals->bad == SHOWN_REJECTS + 1)
        cli_warn("skipping more, without further messages%s", cli.rejects ? "" : "; --rejects FILE lists all");
    jsonlog_begin(&s->rejects);
    jsonlog_str(&s->rejects, "key", key);
    jsonlog_str(&s->rejects, "reason", why.msg);
    return jsonlog_end(&s->rejects, err);
}

static void note_model(struct state *s)
{
    if (!s->r->made_by || s->headers == lafs_reader_headers(s->reader)) return;
    s->headers = lafs_reader_headers(s->reader);
    embedders_note(s->r->made_by, lafs_reader_header(s->reader));
}

static lafs_status loop(struct state *s, struct lafs_err *err)
{
    int enough = 0;
    for (;;) {
        if (cli.take >= 0 && s->totals->records >= cli.take) enough = 1;
        if (enough && !s->must_drain) return LAFS_END;
        lafs_status st = lafs_reader_next(s->reader, &s->sample, err);
        if (st != LAFS_OK && st != LAFS_BAD_RECORD) return st;
        if (enough) continue;
        note_model(s);
        if (st == LAFS_OK) st = s->r->each(s->r->arg, &s->sample, err);
        if (st == LAFS_END) {
            enough = 1;
            continue;
        }
        s->totals->records++;
        if (st == LAFS_BAD_RECORD) st = reject(s, err);
        if (st != LAFS_OK) return st;
        progress_update(&s->progress, s->totals->records);
    }
}

static lafs_status run(struct state *s, const char *const *args, int nargs, struct lafs_err *err)
{
    if (cli.rejects) LAFS_TRY(lafs_writer_spares(cli.rejects, args, nargs, err));
    for (int i = 0; i < nargs; i++) s->must_drain |= cli_has_writer(args[i]);
    struct lafs_reader_options reading = {0};
    if (s->r->reading) reading = *s->r->reading;
    if (!reading.note) reading.note = cli_say;
    LAFS_TRY(lafs_reader_open(&s->reader, args, nargs, &reading, err));
    LAFS_TRY(jsonlog_open(&s->rejects, cli.rejects, s->r->more_rejects, err));
    if (s->r->header) LAFS_TRY(s->r->header(s->r->arg, lafs_reader_header(s->reader), err));
    int64_t expected = lafs_reader_expected(s->reader);
    if (cli.take >= 0 && (expected < 0 || expected > cli.take)) expected = cli.take;
    progress_begin(&s->progress, s->r->what ? s->r->what : "records", expected);
    lafs_status st = loop(s, err);
    progress_end(&s->progress);
    if (st != LAFS_END) return st;
    s->totals->upstream = *lafs_reader_totals(s->reader);
    return jsonlog_close(&s->rejects, err);
}

int readall_run(const struct readall *r, const char *const *args, int nargs, struct readall_totals *totals)
{
    static const char *const standard_input[] = {"-"};
    struct state s = {.r = r, .totals = totals};
    struct lafs_err err = {0}, ignored;
    *totals = (struct readall_totals){0};
    if (nargs == 0 && !(r->reading && r->reading->list)) {
        if (isatty(STDIN_FILENO)) cli_misuse("no input: name files, or pipe a stream in");
        args = standard_input, nargs = 1;
    }
    lafs_sample_init(&s.sample);
    lafs_status st = run(&s, args, nargs, &err);
    int status = st == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    (void)jsonlog_close(&s.rejects, &ignored);
    lafs_sample_release(&s.sample);
    lafs_reader_close(s.reader);
    if (status == EXIT_DONE && (double)totals->bad > cli.max_bad * (double)totals->records) {
        cli_error("%lld of %lld records were bad, more than --max-bad %g allows", (long long)totals->bad,
                  (long long)totals->records, cli.max_bad);
        status = EXIT_FAILED;
    }
    return status;
}
