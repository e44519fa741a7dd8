/* usage: ijbset DIR [SHARE]   makes in DIR what IJB-C's protocols need, of its true size (or a SHARE of its images):
 * 469,375 embeddings of 768 values, 23,124 templates of 3,531 people, 15,658,489 pairs, 19,557 of them genuine; for 1:N
 * two galleries, with one template of each person, and 19,593 probes. Figures are far from 0 and 1: people are directions,
 * templates and images lie around them, some far off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/stream.h"

enum { IMAGES = 469375, TEMPLATES = 23124, PEOPLE = 3531, FIRST_GALLERY = 1772, DIM = 768, PAIRS = 15658489, GENUINE = 19557 };

static const char *dir;
static struct lafs_err err;

static void die_unless(lafs_status st)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "ijbset: %s\n", err.msg);
    exit(1);
}

static FILE *create(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f) perror(path), exit(1);
    return f;
}

static void finish(FILE *f)
{
    if (fclose(f)) perror(dir), exit(1);
}

/* Templates 1..PEOPLE are the galleries', one a person; those behind are probes. */
static int person_of(int template) { return template < PEOPLE ? template : (template - PEOPLE) % PEOPLE; }

static void noise(float *x, uint64_t kind, uint64_t number, float size)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, kind, number, 0));
    for (int d = 0; d < DIM; d++) x[d] += size * ((float)lafs_rng_u32(&r) * 0x1p-31f - 1);
}

static void make_embeddings(int images)
{
    char path[4096], key[32];
    float e[DIM], middle[DIM];
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    FILE *f = create("face_tid_mid.txt");
    snprintf(path, sizeof path, "%s/embeddings", dir);
    lafs_header_init(&h);
    lafs_sample_init(&s);
    die_unless(lafs_writer_open(&w, &(struct lafs_writer_options){.out = path}, &h, &err));
    for (int i = 0, last = -1; i < images; i++) {
        const int t = (int)((int64_t)i * TEMPLATES / images), far = t % 7;
        if (t != last) { /* some templates lie far from their person */
            memset(middle, 0, sizeof middle);
            noise(middle, 1, (uint64_t)person_of(t), 1);
            noise(middle, 2, (uint64_t)t, 1 + 0.8f * (float)far);
            last = t;
        }
        memcpy(e, middle, sizeof e);
        noise(e, 3, (uint64_t)i, 2);
        snprintf(key, sizeof key, "loose_crop/%d", i + 1);
        lafs_sample_clear(&s);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_f32(&s, "embedding", (int64_t[]){DIM}, 1, e);
        lafs_sample_set_double(&s, "score", 0.5 + 0.5 * (i % 100) / 100);
        die_unless(lafs_sample_check(&s, &err));
        die_unless(lafs_writer_put(w, &s, &err));
        fprintf(f, "%d.jpg %d %d\n", i + 1, t + 1, i / 3 + 1);
    }
    die_unless(lafs_writer_close(w, &(struct lafs_totals){.count = images, .ok = 1}, &err));
    lafs_sample_release(&s);
    lafs_header_release(&h);
    finish(f);
}

static void make_pairs(int pairs)
{
    struct lafs_rng r;
    FILE *f = create("template_pair_label.txt");
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 4, 0, 0));
    for (int i = 0, g = 0; i < pairs; i++) {
        const int genuine = (int64_t)i * GENUINE / pairs == g && g < GENUINE;
        int probe = genuine ? PEOPLE + g++ : PEOPLE + (int)lafs_rng_below(&r, TEMPLATES - PEOPLE);
        int gallery = genuine ? person_of(probe) : (int)lafs_rng_below(&r, PEOPLE);
        if (!genuine && gallery == person_of(probe)) gallery = (gallery + 1) % PEOPLE;
        fprintf(f, "%d %d %d\n", gallery + 1, probe + 1, genuine);
    }
    finish(f);
}

static void make_list(const char *name, int from, int to)
{
    FILE *f = create(name);
    fprintf(f, "TEMPLATE_ID,SUBJECT_ID,FILENAME\n");
    for (int t = from; t < to; t++) fprintf(f, "%d,%d,img/%d.png\n", t + 1, person_of(t) + 1, t + 1);
    finish(f);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: ijbset DIR [SHARE]\n"), 2;
    double share = argc == 3 ? atof(argv[2]) : 1;
    dir = argv[1];
    if (!(share > 0.05 && share <= 1)) return fprintf(stderr, "ijbset: SHARE is 0.05 to 1\n"), 2;
    make_embeddings((int)(IMAGES * share));
    make_pairs((int)(PAIRS * share));
    make_list("1N_gallery_G1.csv", 0, FIRST_GALLERY);
    make_list("1N_gallery_G2.csv", FIRST_GALLERY, PEOPLE);
    make_list("1N_probe_mixed.csv", PEOPLE, TEMPLATES);
    return 0;
}
