#include "base/limits.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST = 4096 };

/* Whether `list`, of words between commas, has the word. */
static int lists(const char *list, const char *word)
{
    for (size_t n = strlen(word); list; list = strchr(list, ',')) {
        if (*list == ',') list++;
        if (!strncmp(list, word, n) && (!list[n] || list[n] == ',')) return 1;
    }
    return 0;
}

/* dir/name's first line; 0: there is none. */
static int first_line(const char *dir, const char *name, char line[LONGEST])
{
    char path[2 * LONGEST];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    const int got = fgets(line, LONGEST, f) != NULL;
    fclose(f);
    return got;
}

/* The limits of one group; 0: none. */
typedef double limit_fn(const char *dir, int version);

static double number_in(const char *dir, const char *name)
{
    char line[LONGEST];
    double value = 0;
    return first_line(dir, name, line) && sscanf(line, "%lf", &value) == 1 && value > 0 ? value : 0;
}

static double processor_limit(const char *dir, int version)
{
    char line[LONGEST];
    double most = 0, period = 0;
    if (version == 1) { /* -1: none */
        most = number_in(dir, "cpu.cfs_quota_us");
        period = number_in(dir, "cpu.cfs_period_us");
    } else if (!first_line(dir, "cpu.max", line) || sscanf(line, "%lf %lf", &most, &period) != 2) /* "max 100000" */
        return 0;
    return most > 0 && period > 0 ? most / period : 0;
}

static double memory_limit(const char *dir, int version) /* "max", or more than any machine has: none */
{
    return number_in(dir, version == 1 ? "memory.limit_in_bytes" : "memory.max");
}

/* The path of this process' group: in version 1's hierarchy of the controller, or in version 2's. Lines are
 * NUMBER:CONTROLLERS:PATH, with no controllers in version 2. */
static int find_group(const char *root, int version, const char *controller, char path[LONGEST])
{
    char line[LONGEST], name[LONGEST];
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *f = fopen(name, "re");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *at = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!at) continue;
        *at++ = 0;
        at[strcspn(at, "\n")] = 0;
        found = version == 2 ? !controllers[1] : lists(controllers + 1, controller);
        if (found) memcpy(path, at, strlen(at) + 1);
    }
    if (f) fclose(f);
    return found;
}

/* Where that hierarchy is mounted, and which group of it the mount shows as its root. Lines are NUMBER NUMBER DEVICE
 * ROOT PLACE OPTIONS [FIELD]... - TYPE SOURCE OPTIONS. */
static int find_mount(const char *root, int version, const char *controller, char shown[LONGEST],
                      char place[LONGEST])
{
    char line[LONGEST], name[LONGEST], type[32], options[LONGEST];
    snprintf(name, sizeof name, "%s/proc/self/mountinfo", root);
    FILE *f = fopen(name, "re");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(rest, " - %31s %*s %4095s", type, options) != 2) continue;
        if (sscanf(line, "%*s %*s %*s %4095s %4095s", shown, place) != 2) continue;
        found = version == 2 ? !strcmp(type, "cgroup2") : !strcmp(type, "cgroup") && lists(options, controller);
    }
    if (f) fclose(f);
    return found;
}

/* The group below the mount's root, or "": a container sees its own as the root, and sometimes a path from outside. */
static const char *below(const char *path, const char *shown)
{
    const size_t n = strcmp(shown, "/") ? strlen(shown) : 0;
    if (strstr(path, "..") || strncmp(path, shown, n) || (path[n] != '/' && path[n])) return "";
    return path + n;
}

static double least_of_version(const char *root, int version, const char *controller, limit_fn *limit)
{
    char path[LONGEST], shown[LONGEST], place[LONGEST], dir[3 * LONGEST];
    double least = 0;
    if (!find_group(root, version, controller, path) || !find_mount(root, version, controller, shown, place)) return 0;
    const size_t top = (size_t)snprintf(dir, sizeof dir, "%s%s", root, place);
    snprintf(dir + top, sizeof dir - top, "%s", below(path, shown));
    for (size_t n = strlen(dir);;) { /* its group, those around it, the root */
        dir[n] = 0;
        const double found = limit(dir, version);
        if (found > 0 && (least <= 0 || found < least)) least = found;
        if (n == top) return least;
        while (n > top && dir[n] != '/') n--;
    }
}

static double least_of(const char *root, const char *controller, limit_fn *limit)
{
    const double one = least_of_version(root, 1, controller, limit), two = least_of_version(root, 2, controller, limit);
    return one > 0 && (two <= 0 || one < two) ? one : two;
}

double lafs_processor_quota(const char *root) { return least_of(root, "cpu", processor_limit); }

double lafs_memory_quota(const char *root) { return least_of(root, "memory", memory_limit); }

int lafs_processors_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

int lafs_processors_by(const char *root)
{
    const int allowed = lafs_processors_allowed();
    const double quota = lafs_processor_quota(root);
    return quota > 0 && quota < allowed ? (int)ceil(quota) : allowed;
}

double lafs_memory_by(const char *root)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const double all = pages > 0 && page > 0 ? (double)pages * (double)page : 0x1p62, quota = lafs_memory_quota(root);
    return quota > 0 && quota < all ? quota : all;
}

int lafs_processors(void) { return lafs_processors_by(""); }

double lafs_memory(void) { return lafs_memory_by(""); }
