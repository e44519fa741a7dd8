/* Work that is done again, over a device that records: when it is done, when recorded, when replayed, and what is given
 * back. */
#include "tests/test.h"

#include "compute/repeat.h"

struct lafs_recording {
    int of; /* what was queued */
};
static struct lafs_recording pool[64];
static int taken, live;                    /* recordings made, not yet forgotten */
static int recording, queued;              /* being recorded, what */
static int refuses, fails, outdated;       /* the device: does not record; record ends in nothing; replays nothing */
static int records, replays, worked, done; /* calls; what was done last */

static int record(struct lafs_dev *d)
{
    (void)d;
    records++;
    recording = !refuses;
    return recording;
}
static struct lafs_recording *recorded(struct lafs_dev *d)
{
    (void)d;
    recording = 0;
    if (fails) return NULL;
    live++;
    pool[taken].of = queued;
    return &pool[taken++];
}
static int replay(struct lafs_dev *d, struct lafs_recording *r)
{
    (void)d;
    if (outdated) {
        outdated = 0;
        return 0;
    }
    replays++;
    done = r->of;
    return 1;
}
static void forget(struct lafs_dev *d, struct lafs_recording *r)
{
    (void)d;
    if (!r) return;
    CHECK(r->of != 0); /* not twice */
    r->of = 0;
    live--;
}
static void work(void *arg)
{
    worked++;
    if (recording) queued = *(int *)arg;
    else done = *(int *)arg;
}

static const struct lafs_ops ops = {.record = record, .recorded = recorded, .replay = replay, .forget = forget};
static const struct lafs_backend dev = {.ops = &ops};
static struct lafs_repeat r;

static void begin(void)
{
    memset(&r, 0, sizeof r);
    taken = live = refuses = fails = outdated = 0;
}
/* Work of a key, which must have been done in the end; r: by so many of each call. */
static void once(int key, int want_worked, int want_records, int want_replays)
{
    int arg = 100 + key;
    worked = records = replays = done = 0;
    lafs_repeat(&r, &dev, &key, sizeof key, work, &arg);
    CHECK_INT(done, arg);
    CHECK_INT(worked, want_worked);
    CHECK_INT(records, want_records);
    CHECK_INT(replays, want_replays);
}

TEST(done_recorded_replayed)
{
    begin();
    once(1, 1, 0, 0);
    once(1, 1, 1, 1);
    once(1, 0, 0, 1);
    once(2, 1, 0, 0); /* another key knows nothing of it */
    once(2, 1, 1, 1);
    once(1, 0, 0, 1);
    outdated = 1;
    once(1, 1, 1, 1); /* anew, and the old one is given back */
    CHECK_INT(live, 2);
    once(1, 0, 0, 1);
    lafs_repeat_forget(&r, &dev);
    CHECK_INT(live, 0);
    once(1, 1, 0, 0);
}

TEST(what_cannot_be_recorded_is_done)
{
    begin();
    refuses = 1;
    once(1, 1, 0, 0);
    once(1, 1, 1, 0);
    once(1, 1, 0, 0); /* and not tried again */
    once(1, 1, 0, 0);
    refuses = 0;
    fails = 1;
    once(2, 1, 0, 0);
    once(2, 2, 1, 0); /* once for nothing */
    once(2, 1, 0, 0);
    CHECK_INT(live, 0);
    fails = 0;
    once(3, 1, 0, 0);
    once(3, 1, 1, 1);
    outdated = refuses = 1; /* what was recorded is of no use any more, and nothing takes its place */
    once(3, 1, 1, 0);
    once(3, 1, 0, 0);
    CHECK_INT(live, 0);
    lafs_repeat_forget(&r, &dev);
}

TEST(the_key_not_used_for_longest_goes)
{
    begin();
    for (int round = 0; round < 2; round++)
        for (int k = 1; k <= LAFS_REPEATS; k++) once(k, 1, round, round);
    once(1, 0, 0, 1);
    once(99, 1, 0, 0);
    CHECK_INT(live, LAFS_REPEATS - 1);
    for (int k = 3; k <= LAFS_REPEATS; k++) once(k, 0, 0, 1);
    once(1, 0, 0, 1);
    once(2, 1, 0, 0); /* forgotten, in place of the 99th now */
    once(99, 1, 0, 0);
    lafs_repeat_forget(&r, &dev);
    CHECK_INT(live, 0);
}

TEST(keys)
{
    begin();
    unsigned char key[LAFS_REPEAT_KEY + 1] = {0};
    int arg = 7;
    for (int i = 0; i < 3; i++) {
        worked = 0;
        lafs_repeat(&r, &dev, key, sizeof key, work, &arg); /* too long: always done */
        CHECK_INT(worked, 1);
        lafs_repeat(&r, &dev, NULL, 0, work, &arg);
        lafs_repeat(&r, &dev, key, 4, work, &arg); /* of another length, another one */
        lafs_repeat(&r, &dev, key, LAFS_REPEAT_KEY, work, &arg);
        CHECK_INT(worked, i < 2 ? 4 : 1);
    }
    key[LAFS_REPEAT_KEY - 1] = 1;
    worked = 0;
    lafs_repeat(&r, &dev, key, LAFS_REPEAT_KEY, work, &arg);
    CHECK_INT(worked, 1);
    lafs_repeat_forget(&r, &dev);
    CHECK_INT(live, 0);
    static const struct lafs_ops none = {0};
    const struct lafs_backend plain = {.ops = &none};
    for (worked = 0; worked < 5;) lafs_repeat(&r, &plain, NULL, 0, work, &arg);
    lafs_repeat_forget(&r, &plain);
}

TEST_MAIN(done_recorded_replayed, what_cannot_be_recorded_is_done, the_key_not_used_for_longest_goes, keys)
