/* What is sculpted on the head: features of the mean, directions of identity, expressions. All are displacements in
 * millimetres at grid coordinates (s, t). */
#ifndef LAFS_SYNTH_SHAPE_H
#define LAFS_SYNTH_SHAPE_H

/* Features of the mean head: nose, eye sockets, cheeks, lips, chin. */
void lafs_synth_shape_features(float s, float t, float d[3]);

int lafs_synth_shape_count(void);
/* One standard deviation of direction m at (s, t), where the mean solid has position p. */
void lafs_synth_shape_direction(int m, float s, float t, const float p[3], float d[3]);
/* How much direction m depends on sex (added for men, half on each side), age (per 10 years beyond 40) and weight (per
 * standard deviation), in standard deviations. */
void lafs_synth_shape_bias(int m, float *male, float *age, float *weight);

/* Full expression m (enum expression). */
void lafs_synth_shape_expression(int m, float s, float t, float d[3]);

#endif
