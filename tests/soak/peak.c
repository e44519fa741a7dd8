/* usage: peak LABEL PROGRAM [ARGUMENT]... runs a program and says on stderr what it took: peak resident memory and time,
 * as "LABEL: 12.3 MB, 4.5 s". Exits as the program did. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

int main(int argc, char **argv)
{
    struct rusage use;
    struct timeval from, to;
    int status = 0;
    if (argc < 3) return 2;
    gettimeofday(&from, NULL);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        fprintf(stderr, "peak: cannot run '%s': %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &use) < 0) return 1;
    gettimeofday(&to, NULL);
    fprintf(stderr, "%s: %.1f MB, %.1f s (%.1f s of processor)\n", argv[1], (double)use.ru_maxrss / 1024,
            seconds(to) - seconds(from), seconds(use.ru_utime) + seconds(use.ru_stime));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
