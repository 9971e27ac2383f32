/* What the parts share that turn frames into inputs, and outputs into results. */
#ifndef TVMKD_FRAMES_H
#define TVMKD_FRAMES_H

#include "runtime.h"

#define LANES 16 /* rows that are resized at once, and pixels that are stored at once */

enum { SCORES_NONE, SCORES_SIGMOID, SCORES_SOFTMAX }; /* from outputs to scores */

struct tvmkd_frame_plan {
  const tvmkd_frames *frames;
  int32_t bgr;           /* the network wants blue first */
  int32_t channels_last; /* the input is [1, H, W, C] */
  int32_t antialias;     /* as Pillow's BILINEAR; otherwise as torch's interpolate */
  int32_t activation;    /* SCORES_... */
  int32_t scores;        /* number of the output with a detector's logits or a classifier's scores */
  int32_t offsets;       /* number of the output with a detector's offsets */
  int32_t anchor_count;
  int32_t columns;              /* logits of an anchor */
  int32_t topk;                 /* candidates of an image (sigmoid) or of a class (softmax) */
  const unsigned char *anchors; /* float x1, y1, x2, y2 of each, in pixels of the input */
  float weights[4];             /* that dx, dy, dw and dh were multiplied by */
  float largest;                /* dw and dh */
  float side;                   /* pixels of the input's side */
  double slack;                 /* of a logit, so that rounding drops no score */
};

/* From which pixels of a frame, and how much of each, a pixel of the input is made. */
typedef struct {
  int32_t *first, *count;  /* of each pixel of the input: its first source, and how many */
  int32_t *weights;        /* of each source, times 2^WEIGHT_BITS; `step` for each pixel of the input */
  int32_t step;
  int32_t scaled, left;    /* pixels of the resized frame, and the first of them that is kept */
} tvmkd_axis;

typedef struct {
  float score;
  uint32_t rank; /* of equal scores the lower rank comes first; see find_... for what it is */
} tvmkd_candidate;

/* The part of an instance that frames need: planned for the largest frame. */
typedef struct {
  int32_t width, height; /* of the last frame, whose axes are there */
  tvmkd_axis across, down;
  uint8_t *rows;  /* after resizing the rows: for each row its channels, LANES-aligned */
  uint8_t *lines; /* of each thread: LANES rows turned, and LANES rows of brightness */
  size_t line_bytes;
  tvmkd_candidate *candidates;
  uint32_t *counts;  /* of each class, with softmax */
  double *powers;    /* of each logit of an anchor, or of a classifier */
  float *boxes;      /* of each candidate */
  float *kept[5];    /* x1, y1, x2, y2 and area of the results, in pixels of the input */
  int32_t *kept_label;
} tvmkd_frame_work;

/* axes.c */
#define WEIGHT_BITS 22 /* behind the point */
int32_t tvmkd_rt_taps(int32_t from, int32_t to);
void tvmkd_rt_plan_axes(const tvmkd_frame_plan *plan, tvmkd_frame_work *work, int32_t width,
                        int32_t height);

/* resample.c */
void tvmkd_rt_prepare(tvmkd_instance *instance, const tvmkd_frame *frame, float *input);

/* candidates.c: the `most` best of a stream of candidates, kept in place. */
int tvmkd_rt_better(tvmkd_candidate a, tvmkd_candidate b);
int tvmkd_rt_offer(tvmkd_candidate *list, uint32_t *count, uint32_t most, tvmkd_candidate one);
void tvmkd_rt_sort(tvmkd_candidate *list, uint32_t count);

/* results.c: return NULL, or why there are none. */
const char *tvmkd_rt_classify(tvmkd_instance *instance, const tvmkd_frame *frame,
                              const float *outputs, tvmkd_results *results);
uint32_t tvmkd_rt_candidates(const tvmkd_frame_plan *plan);

/* detect.c */
const char *tvmkd_rt_decode(tvmkd_instance *instance, const float *logits, const float *offsets,
                            double threshold, uint32_t *count);
void tvmkd_rt_suppress(tvmkd_instance *instance, const tvmkd_frame *frame, uint32_t count,
                       double overlap, tvmkd_results *results);

#endif
