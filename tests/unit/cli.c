#include "cmd/cli.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/buf.h"
#include "tests/test.h"

static struct { int best, no_crop, crop; int64_t n; double min; const char *mode; struct cli_list model; } o = {.n = -1, .min = 0.8, .mode = "fast"};
static const struct cli_option table[] = {
    CLI_OUT, CLI_SEED, CLI_PRESET, CLI_JOBS,
    {"best", 'b', CLI_FLAG, &o.best, NULL, "keep one"},
    {"crop", 0, CLI_FLAG, &o.crop, NULL, "crop"},
    {"no-crop", 0, CLI_FLAG, &o.no_crop, NULL, "do not"},
    {"count", 'n', CLI_INT, &o.n, "N", "count", 0, 100, "all"},
    {"min-score", 0, CLI_DOUBLE, &o.min, "SCORE", "drop faces below SCORE", 0, 1, "0.8"},
    {"mode", 0, CLI_CHOICE, &o.mode, "fast|slow", "how", 0, 0, "fast"},
    {"model", 'm', CLI_LIST, &o.model, "FILE", "model; a help text that is long enough to be broken into a second line by the printer"},
    CLI_ALWAYS, {0}};
static const struct cli_program prog = {"lafs-test", "[OPTION]... [FILE]...", "test things", table};

static char out[8192]; /* stdout and stderr of the last run */

/* Runs in a child: parse, print what was parsed; gives the exit status (128 + signal). */
static int run(const char *const *argv, int then)
{
    int p[2], argc = 0, status;
    const char *args[20];
    for (; argv[argc]; argc++) args[argc] = argv[argc];
    args[argc] = NULL;
    fflush(stdout);
    if (pipe(p)) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[1], 1), dup2(p[1], 2), close(p[0]), close(p[1]);
        int n;
        char **rest = cli_parse(&prog, argc, (char **)args, &n);
        struct lafs_atomic f;
        if (then == 1 && lafs_atomic_open(&f, "/tmp/lafs-cli-test", NULL) == LAFS_OK) raise(SIGTERM);
        if (then == 2) {
            if (!freopen("/dev/full", "w", stdout)) _exit(9);
            puts("x");
            exit(cli_finish(0));
        }
        printf("best=%d crop=%d no-crop=%d n=%lld min=%g mode=%s seed=%lld q=%d v=%d j=%lld out=%s", o.best, o.crop, o.no_crop,
               (long long)o.n, o.min, o.mode, (long long)cli.seed, cli.quiet, cli.verbose, (long long)cli.jobs, cli.out ? cli.out : "-");
        for (int i = 0; i < o.model.n; i++) printf(" m=%s", o.model.v[i]);
        for (int i = 0; i < n; i++) printf(" [%s]", rest[i]);
        const char *const *names, *const *values;
        int k = cli_prov_options(&prog, &names, &values);
        for (int i = 0; i < k; i++) printf(" {%s=%s}", names[i], values[i]);
        exit(cli_finish(0));
    }
    close(p[1]);
    size_t have = 0;
    for (ssize_t n; (n = read(p[0], out + have, sizeof out - 1 - have)) > 0;) have += (size_t)n;
    out[have] = 0;
    close(p[0]);
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
#define RUN(...) run((const char *const[]){"lafs-test", __VA_ARGS__ __VA_OPT__(,) NULL}, 0)
#define HAS(text) do { if (!strstr(out, text)) FAIL_("'%s' is not in: %s", text, out); } while (0)

TEST(parses)
{
    CHECK_INT(RUN("-bqj4", "x", "--min-score=0.25", "--mode", "slow", "-m", "a", "--model=b", "-", "--crop", "--no-crop", "--", "-z"), 0);
    HAS("best=1 crop=0 no-crop=1 n=-1 min=0.25 mode=slow seed=1 q=1 v=0 j=4 out=- m=a m=b [x] [-] [-z]");
    HAS("{best=yes} {no-crop=yes} {min-score=0.25} {mode=slow} {model=a b}");
    CHECK(!strstr(out, "{jobs"));
    CHECK_INT(RUN("--seed", "1", "-n", "5", "-o", "f"), 0);
    HAS("n=5");
    HAS("out=f");
    CHECK(!strstr(out, "{seed"));
}

TEST(misuse)
{
    CHECK_INT(RUN("--b\x1b[2J\xc2\x9b" "2J"), 2);
    HAS("unknown option '--b?[2J??2J'");
    CHECK_INT(RUN("--count", "12x"), 2);
    HAS("lafs-test: option '--count': '12x' is not a whole number\nlafs-test: try 'lafs-test --help'\n");
    CHECK_INT(RUN("-n", "101"), 2);
    HAS("101 is not within 0 to 100");
    CHECK_INT(RUN("--count=1.5"), 2);
    CHECK_INT(RUN("--count="), 2);
    CHECK_INT(RUN("--min-score", "nan"), 2);
    CHECK_INT(RUN("--min-score=-0.1"), 2);
    CHECK_INT(RUN("--mode", "slwo"), 2);
    HAS("'slwo' is none of fast|slow; did you mean 'slow'?");
    CHECK_INT(RUN("--min-scroe", "1"), 2);
    HAS("unknown option '--min-scroe'; did you mean '--min-score'?");
    CHECK_INT(RUN("--xyzzy"), 2);
    CHECK(!strstr(out, "did you mean"));
    CHECK_INT(RUN("-bz"), 2);
    HAS("unknown option '-z'");
    CHECK_INT(RUN("--best=1"), 2);
    HAS("takes no value");
    CHECK_INT(RUN("-n"), 2);
    HAS("option '--count' needs a value (N)");
}

TEST(help_version_completion)
{
    CHECK_INT(RUN("--help", "--bogus"), 0);
    HAS("usage: lafs-test [OPTION]... [FILE]...\ntest things\n");
    HAS("  -n, --count N             count (default: all)\n");
    HAS("      --mode fast|slow      how (default: fast)\n");
    HAS("to be broken\n                            into a second line by the printer\n");
    CHECK_INT(RUN("--version"), 0);
    CHECK(!strncmp(out, "lafs-test (lafs) 0", 18));
    CHECK_INT(RUN("--version", "-v"), 0);
    HAS("compiler: ");
    CHECK_INT(RUN("--completion", "bash"), 0);
    HAS("complete -o default -F _lafs_test lafs-test");
    HAS("--mode) COMPREPLY=($(compgen -W 'fast slow' -- \"$cur\")); return;;");
    CHECK_INT(RUN("--completion=zsh"), 0);
    HAS("#compdef lafs-test\n");
    HAS("'(-n --count)'{-n+,--count=}'[count]:N: '");
    HAS("--mode='[how]:mode:(fast slow)'");
    CHECK_INT(RUN("--completion=fish"), 2);
}

TEST(presets)
{
    char path[] = "/tmp/lafs-preset-XXXXXX";
    int fd = mkstemp(path);
    const char *text = "# a preset\n\n count = 7\nmin-score=0.5 \r\nbest\ncrop = yes\nmode = slow\nmodel = p";
    REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK_INT(RUN("-n", "3", "--preset", path, "-m", "c", "--no-crop"), 0);
    HAS("best=1 crop=0 no-crop=1 n=3 min=0.5 mode=slow");
    HAS(" m=c {");
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, "\nmod = fast\n", 12, 0) == 12);
    CHECK_INT(RUN("--preset", path), 2);
    HAS(":2: unknown option '--mod'; did you mean '--mode'?");
    CHECK(pwrite(fd, "count=12x\n\n\n", 12, 0) == 12);
    CHECK_INT(RUN("--preset", path), 2);
    HAS(":1: option '--count': '12x' is not a whole number");
    CHECK_INT(RUN("--preset", "no-such-preset"), 2);
    HAS("cannot find the preset 'no-such-preset'; there are: few-finetune, ");
    CHECK_INT(RUN("--preset", "few-finetun"), 2);
    HAS("cannot find the preset 'few-finetun'; did you mean 'few-finetune'?");
    close(fd);
    unlink(path);
}

TEST(signals_and_full_disk)
{
    const char *const argv[] = {"lafs-test", NULL};
    CHECK_INT(run(argv, 1), 128 + SIGTERM);
    CHECK(access("/tmp/lafs-cli-test", F_OK) != 0);
    CHECK_INT(run(argv, 2), 1);
    HAS("lafs-test: cannot write standard output: no space left on device\n");
}

TEST_MAIN(parses, misuse, help_version_completion, presets, signals_and_full_disk)
