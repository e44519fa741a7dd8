/* What is so in one photo only. */
#ifndef LAFS_SYNTH_SCENE_H
#define LAFS_SYNTH_SCENE_H

#include "synth/head.h"
#include "synth/identity.h"
#include "synth/synth.h"

enum { LIGHTS = 2 };
struct lighting {
    float sky[3], ground[3];       /* light from above and below, linear RGB; 1 makes white paper white */
    float side[3];                 /* the ambient light's change to image right */
    float dir[LIGHTS][3];          /* towards the lights, unit; camera axes, y down; [0] casts shadows */
    float colour[LIGHTS][3];
    float soft;                    /* 0 hard .. 1 soft edge of shadows */
};

enum hat { HAT_NONE, HAT_CAP, HAT_BEANIE, HAT_BRIM };
enum cloth { CLOTH_TSHIRT, CLOTH_SHIRT, CLOTH_SUIT, CLOTH_HIGH, CLOTH_VNECK, CLOTH_KINDS };

/* One person in the photo. */
struct pose {
    struct identity id;
    float expr[EXPR_COUNT];
    float shape[LAFS_SYNTH_SHAPES]; /* the identity's, and the little that changes with the day */
    float yaw, pitch, roll;        /* radians */
    float scale;                   /* pixels a mm at the head's origin */
    float distance;                /* mm from camera to the head's origin */
    float cx, cy;                  /* pixels: where the point between the eyes, on the skin, comes to lie */
    float rot[9];                  /* head to camera axes, rows */
    float body[9];                 /* body to camera axes */
    float gaze_x, gaze_y;          /* mm that the iris is off the centre, to image right and down */
    float lids[2];                 /* openness of the eyes: image left, image right; 1 = wide awake */
    enum hair_style style;
    float hair_length, hair_u, hair_v, mess; /* factor; offsets in the tiles; 0..1 */
    float part, fringe;
    enum beard_style beard;
    float stubble;                 /* 0..1 */
    enum glasses_kind glasses;
    float tint, glint;             /* of the lenses, 0..1 */
    enum hat hat;
    float hat_rgb[3], hat_low;     /* hat_low: mm that it is pulled down */
    float makeup, lipstick[3], oil, flush;
    enum cloth cloth;
    float cloth_rgb[3], shirt_rgb[3], tie_rgb[3], stripes;
};

enum { MAX_SHAPES_BEHIND = 14 };
struct blob {                      /* things behind: an ellipse or a box with soft edges */
    float x, y, rx, ry, angle, edge, rgb[3];
    int box;
};
enum { MAX_OCCLUDERS = 2 };
enum occluder_kind { OCCLUDER_HAND, OCCLUDER_MIKE, OCCLUDER_BAR, OCCLUDER_BLUR };
struct occluder {
    enum occluder_kind kind;
    float x, y, size, angle, rgb[3]; /* pixels, radians */
};

struct camera {
    float exposure;                /* gain */
    float balance[3];              /* gains of the channels */
    float contrast, saturation;    /* about 1 */
    float blur;                    /* sigma, pixels */
    float motion, motion_x, motion_y; /* length in pixels, direction */
    float shot, read;              /* noise: share of the root of the light, constant; in 8-bit values */
    float chroma_noise;
    float vignette;
    int grey;
    int quality;
};

struct scene {
    int width, height;
    int faces;
    struct pose pose[LAFS_SYNTH_MAX_FACES]; /* [0]: the person asked for */
    struct lighting light;
    float back_top[3], back_bottom[3], back_texture, back_scale, noise_u, noise_v;
    int blobs;
    struct blob blob[MAX_SHAPES_BEHIND];
    int occluders;
    struct occluder occluder[MAX_OCCLUDERS];
    struct camera camera;
    float border;                  /* share of the side that is black, as in rotated crops; 0: none */
};

void lafs_synth_scene_draw(struct scene *sc, const struct lafs_synth_options *opt, int shapes,
                           const struct identity *who, int64_t number);

#endif
