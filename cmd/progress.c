#include "cmd/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cli.h"

static struct progress *on_screen; /* whose line is drawn */

static void put(const char *s, int n)
{
    if (n > 0 && write(STDERR_FILENO, s, (size_t)n) < 0) return; /* nobody to tell */
}

void progress_clear(void)
{
    if (!on_screen) return;
    put("\r\033[K", 4);
    on_screen->drawn = 0;
    on_screen = NULL;
}

void progress_begin(struct progress *p, const char *what, int64_t expected)
{
    p->what = what;
    p->expected = expected;
    if (!p->now) p->now = lafs_clock_now;
    p->started = p->shown = p->now();
    p->drawn = 0;
    p->active = !cli.no_progress && !cli.quiet && (cli.progress || isatty(STDERR_FILENO));
}

/* A background job leaves the terminal alone. */
static int foreground(void)
{
    pid_t group = tcgetpgrp(STDERR_FILENO);
    return cli.progress || group < 0 || group == getpgrp();
}

static int put_time(char *to, size_t size, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600) return snprintf(to, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    return snprintf(to, size, "%ld:%02ld", s / 60, s % 60);
}

void progress_update(struct progress *p, int64_t done)
{
    if (!p->active) return;
    double now = p->now();
    if (now - p->shown < 1 || !foreground()) return;
    p->shown = now;
    char line[200], left[40];
    double rate = (double)done / (now - p->started);
    int n = snprintf(line, sizeof line, "\r\033[K%s: %lld %s", cli_program_name(), (long long)done, p->what);
    if (p->expected > 0) n += snprintf(line + n, sizeof line - (size_t)n, " of %lld (%d %%)", (long long)p->expected,
                                       (int)(100.0 * (double)done / (double)p->expected));
    n += snprintf(line + n, sizeof line - (size_t)n, ", %.*f/s", rate < 10 ? 1 : 0, rate);
    if (p->expected > done && done > 0) {
        put_time(left, sizeof left, (double)(p->expected - done) / rate);
        n += snprintf(line + n, sizeof line - (size_t)n, ", %s left", left);
    }
    put(line, n);
    p->drawn = 1;
    on_screen = p;
}

void progress_end(struct progress *p)
{
    if (on_screen == p) progress_clear();
    p->active = 0;
}
