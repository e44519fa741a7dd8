/* How long programs take to start: the bars are 3 ms for those that do not compute, 60 ms for those that do, with a model of
 * size t; beside the start alone, of which the bars speak, the start and one face. bench.h says how; no test. */
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>

#include "model/part_fvit.h"
#include "tests/bench/bench.h"

extern char **environ;

static const char *programs; /* their folder */
static char *const *command;

static void start(void)
{
    posix_spawn_file_actions_t to;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&to);
    posix_spawn_file_actions_addopen(&to, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&to, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&pid, command[0], &to, NULL, command, environ) || waitpid(pid, &status, 0) != pid || status) {
        fprintf(stderr, "start: '%s' failed\n", command[0]);
        exit(1);
    }
    posix_spawn_file_actions_destroy(&to);
}

static void start_row(const char *name, double bar, char *const *args)
{
    command = args;
    bench_row(&(struct bench_row){.name = name, .unit = "start", .bar = bar, .threads = 1, .run = start});
}

/* dir/name, kept. */
static char *path_in(const char *dir, const char *name)
{
    char *s;
    if (asprintf(&s, "%s/%s", dir, name) < 0) exit(1);
    return s;
}

/* A tar of nothing. */
static int make_tar(const char *path)
{
    static const char zeros[10240];
    FILE *f = fopen(path, "w");
    if (!f) return 0;
    const size_t n = fwrite(zeros, 1, sizeof zeros, f);
    return !fclose(f) && n == sizeof zeros;
}

static lafs_status make_model(const char *path, struct lafs_err *err)
{
    struct lafs_backend b;
    struct lafs_model_config c;
    struct lafs_model m;
    LAFS_TRY(lafs_backend_open(&b, "cpu", NULL, NULL, err));
    LAFS_TRY(lafs_model_config_named(&c, "t", err));
    LAFS_TRY(lafs_model_init(&m, &c, err));
    LAFS_TRY(lafs_params_place(&m.params, &b, err));
    LAFS_TRY(lafs_params_fill(&m.params, &b, 1, err));
    LAFS_TRY(lafs_model_save(&m, &b, m.params.value, path, NULL, 0, err));
    lafs_model_release(&m, &b);
    lafs_backend_close(&b);
    return LAFS_OK;
}

int main(int argc, char **argv)
{
    struct lafs_err err = {0};
    char dir[] = "/tmp/lafs-bench-XXXXXX", *self = realpath(argv[0], NULL); /* BUILD/tests/bench/start */
    (void)argc;
    if (!self || !mkdtemp(dir)) return 1;
    programs = dirname(dirname(dirname(self)));
    char *model = path_in(dir, "t.safetensors"), *faces = path_in(dir, "one.face");
    char *none = path_in(dir, "none.tar");
    bench_begin("start");
    if (make_model(model, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    if (!make_tar(none)) {
        perror(none);
        return 1;
    }
    command = (char *[]){path_in(programs, "lafs-synth"), "-q", "--aligned", "-p1", "-n1", "-o", faces, NULL};
    start();
    const char *plain[] = {"lafs-shard", "lafs-select", "lafs-show", "lafs-verify", "lafs-convert"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        start_row(plain[i], 3, (char *[]){path_in(programs, plain[i]), "--version", NULL});
    start_row("lafs-show, one face", 3, (char *[]){path_in(programs, "lafs-show"), "--count", faces, NULL});
    const char *computing[] = {"lafs-embed", "lafs-landmark"};
    const char *with_face[] = {"lafs-embed, one face", "lafs-landmark, one face"};
    for (size_t i = 0; i < sizeof computing / sizeof *computing; i++) {
        char *program = path_in(programs, computing[i]);
        start_row(computing[i], 60, (char *[]){program, "-q", "-m", model, none, NULL});
        start_row(with_face[i], 60, (char *[]){program, "-q", "-m", model, faces, NULL});
    }
    unlink(none);
    unlink(model);
    unlink(faces);
    rmdir(dir);
    return bench_end();
}
