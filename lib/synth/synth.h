/* Rendered photos of people who do not exist, with true boxes and points.
 *
 * A person is a set of numbers (shape of the head, skin, features) drawn from (seed, person); a photo adds pose,
 * expression, light, hair of the day, things in front, background and camera, drawn from (seed, person, photo). Nothing
 * else enters, so a photo is the same whatever was rendered before it, in whatever thread.
 *
 *     struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
 *     LAFS_TRY(lafs_synth_new(&synth, &opt, err));           // shared by all threads, read only
 *     LAFS_TRY(lafs_synth_work_new(&work, synth, err));      // one per thread
 *     lafs_synth_photo_init(&photo);
 *     LAFS_TRY(lafs_synth_render(synth, work, person, number, &photo, err));
 */
#ifndef LAFS_SYNTH_SYNTH_H
#define LAFS_SYNTH_SYNTH_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/image.h"

enum { LAFS_SYNTH_MAX_FACES = 8, LAFS_SYNTH_MIN_SIZE = 32, LAFS_SYNTH_MAX_SIZE = 4096 };

struct lafs_synth_options {
    uint64_t seed;
    int width, height;        /* of the photos, LAFS_SYNTH_MIN_SIZE..LAFS_SYNTH_MAX_SIZE */
    int faces_min, faces_max; /* faces in a photo: the person's and those of bystanders, 1..LAFS_SYNTH_MAX_FACES */
};
#define LAFS_SYNTH_DEFAULTS {1, 250, 250, 1, 1}

/* What is true of one face of a photo. Coordinates: pixels, (0, 0) the centre of the top-left pixel. */
struct lafs_synth_face {
    int64_t person;      /* -1: a bystander, who is in no other photo */
    float box[4];        /* left, top, width, height: forehead to chin, cheek to cheek, as far as they can be seen */
    float points[10];    /* (5,2): as lafs_points68_to_5 of points68 */
    float points68[136]; /* (68,2); the jaw line follows the visible contour */
    float yaw, pitch, roll; /* degrees; yaw > 0: turned to image right; pitch > 0: looking up; roll > 0: clockwise */
    int skin;            /* 1 (lightest) .. 6 (darkest) */
};

struct lafs_synth_photo {
    struct lafs_image image; /* owned */
    int faces;               /* face[0] is the person's */
    struct lafs_synth_face face[LAFS_SYNTH_MAX_FACES];
    int quality;             /* of the JPEG that the photo's camera would write, 1..100 */
};
void lafs_synth_photo_init(struct lafs_synth_photo *p);
void lafs_synth_photo_release(struct lafs_synth_photo *p);

struct lafs_synth;
/* LAFS_USAGE: an option is out of its range. */
lafs_status lafs_synth_new(struct lafs_synth **out, const struct lafs_synth_options *opt, struct lafs_err *err);
void lafs_synth_free(struct lafs_synth *s);

/* Buffers of one thread. */
struct lafs_synth_work;
lafs_status lafs_synth_work_new(struct lafs_synth_work **out, const struct lafs_synth *s, struct lafs_err *err);
void lafs_synth_work_free(struct lafs_synth_work *w);

/* Renders photo `number` (>= 0) of `person` (>= 0). LAFS_USAGE: one of them is less. */
lafs_status lafs_synth_render(const struct lafs_synth *s, struct lafs_synth_work *w, int64_t person, int64_t number,
                              struct lafs_synth_photo *out, struct lafs_err *err);

/* The aligned crop of face[0], size (a multiple of 112) squared, by its true points. points and box are in the crop. */
lafs_status lafs_synth_align(const struct lafs_synth_photo *p, int size, struct lafs_image *crop, double matrix[6],
                             float points[10], float points68[136], float box[4], struct lafs_err *err);

/* What is true of a person. */
enum { LAFS_SYNTH_SHAPES = 64 };
struct lafs_synth_person {
    int skin;                        /* 1..6 */
    int male;                        /* 0, 1 */
    float age;                       /* years, 18..80 */
    float shape[LAFS_SYNTH_SHAPES];  /* coefficients of the head's shape, in standard deviations; unused ones 0 */
};
void lafs_synth_describe(const struct lafs_synth *s, int64_t person, struct lafs_synth_person *out);

/* "s000042", or with a seed other than 1 "s7-000042", since another seed makes other people. NUL-terminated, without a
 * slash or dot. */
enum { LAFS_SYNTH_NAME = 48 };
void lafs_synth_name(uint64_t seed, int64_t person, char name[LAFS_SYNTH_NAME]);

#endif
