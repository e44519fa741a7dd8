/* Who somebody is: everything that stays from photo to photo. */
#ifndef LAFS_SYNTH_IDENTITY_H
#define LAFS_SYNTH_IDENTITY_H

#include <stdint.h>

#include "synth/synth.h"

enum hair_style {
    HAIR_BALD,
    HAIR_BUZZ,
    HAIR_SHORT,
    HAIR_SWEPT,
    HAIR_MEDIUM,
    HAIR_BOB,
    HAIR_LONG,
    HAIR_TIED,
    HAIR_AFRO,
    HAIR_STYLES
};
enum beard_style { BEARD_NONE, BEARD_STUBBLE, BEARD_MOUSTACHE, BEARD_GOATEE, BEARD_FULL, BEARD_CHIN, BEARD_STYLES };
enum glasses_kind { GLASSES_NONE, GLASSES_ROUND, GLASSES_RECT, GLASSES_OVAL, GLASSES_HALF, GLASSES_SUN };

enum { MAX_MOLES = 7 };
struct mole {
    float s, t, r, dark;
};

struct identity {
    int64_t person;                /* -1: a bystander */
    int male, skin;                /* skin: 1..6 */
    float age, weight;             /* years; standard deviations */
    float tone;                    /* 0 lightest .. 1 darkest */
    float albedo[3];               /* of the skin, linear RGB */
    float shape[LAFS_SYNTH_SHAPES];

    /* Eyes: centre at s = +-31, t = 0; mm. */
    float iris[3], iris_r;
    float eye_up, eye_low, eye_wide; /* lids above and below the line of the corners, half width */
    float eye_peak;                /* where the upper lid is highest, -1..1 of the half width, outwards */
    float fold;                    /* mm from lashes to crease; 0: none */
    float lash, eye_dark;          /* 0..1: lashes, dark skin around the eyes */
    /* Brows */
    float brow_t, brow_thick, brow_arch, brow_in, brow_out, brow_tail, brow_density;
    /* Mouth */
    float lip_up, lip_low, lip_bow, lip_wide, lip[3]; /* heights of the red in mm; lip: factors on the albedo */
    /* Skin */
    float freckle, blotch, ruddy, wrinkle, pores;
    float noise_u, noise_v;        /* where the skin's patterns start in the tiles */
    int moles;
    struct mole mole[MAX_MOLES];
    /* Hair */
    float hair[3], grey;           /* linear RGB with the grey mixed in */
    float curl;                    /* 0 straight .. 1 tight */
    float hairline, temples, thin; /* mm up, mm the temples recede, 0..1 thin on top */
    enum hair_style style;
    float part;                    /* -1..1: side of the parting */
    float fringe;                  /* 0..1 */
    float volume;
    enum beard_style beard;
    float beard_growth;            /* 0..1 density that it can reach */
    /* Ears, neck, things */
    float ear_size, ear_flare;
    enum glasses_kind glasses;     /* what this person owns */
    float glasses_habit;           /* share of the photos with them */
    float frame[3], frame_thick, glasses_wide, glasses_high;
    float makeup;                  /* habit, 0..1 */
};

/* which: number of the person, or for a bystander a number of the photo and place. */
void lafs_synth_identity_draw(struct identity *id, uint64_t seed, int bystander, uint64_t which, int shapes);

#endif
