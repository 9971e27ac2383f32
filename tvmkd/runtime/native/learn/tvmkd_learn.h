/* Learns the last layer of a classifier on a board, from labelled examples (tvmkd deploy learn-head).
 *
 * A standalone library whose network was cut by `tvmkd deploy learn-head` gives features besides its
 * logits. This file's functions make logits of features with a head that can learn:
 *
 *     tvmkd_learner *learner;
 *     if (tvmkd_learn_open("head.bin", "state.bin", NULL, &learner) != TVMKD_LEARN_OK)
 *       puts(tvmkd_learn_error(NULL));
 *     tvmkd_learn_predict(learner, features, logits);            after each run of the library
 *     tvmkd_learn_add(learner, features, label);                 for labelled ones
 *     tvmkd_learn_begin(learner);                                now and then, and then, when idle:
 *     while ((phase = tvmkd_learn_step(learner, 1)) == TVMKD_LEARN_TRAINING || ...CHECKING) ...
 *
 * A step is one batch, so its time is bounded. The new head replaces the old one at once, if it is
 * better on held-back new examples, forgets little of the old held-back ones, gains more than it costs,
 * and the new labels do not contradict the old head in bulk; otherwise it is dropped with the
 * examples. All memory is taken by open, in one block. One thread at a time may
 * call; tvmkd_learn_predict may be called from any thread meanwhile. */
#ifndef TVMKD_LEARN_H
#define TVMKD_LEARN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  TVMKD_LEARN_OK = 0,
  TVMKD_LEARN_BAD_ARGUMENT = 1, /* an option, a label, a feature that cannot be used */
  TVMKD_LEARN_NO_MEMORY = 2,
  TVMKD_LEARN_DAMAGED = 3,  /* a file is no head, or is damaged */
  TVMKD_LEARN_SYSTEM = 4,   /* a file cannot be read or written */
  TVMKD_LEARN_NOT_READY = 5 /* an update runs, too few examples, or too many wait */
} tvmkd_learn_status;

typedef enum {
  TVMKD_LEARN_IDLE = 0,
  TVMKD_LEARN_TRAINING = 1,
  TVMKD_LEARN_CHECKING = 2,
  TVMKD_LEARN_ACCEPTED = 3, /* the last update's head is used */
  TVMKD_LEARN_REJECTED = 4  /* the last update was dropped; see tvmkd_learn_info */
} tvmkd_learn_phase;

/* Call tvmkd_learn_defaults, then set what differs. */
typedef struct {
  uint32_t size;      /* sizeof(tvmkd_learn_options) */
  int32_t batch;      /* examples a step; 32 */
  int32_t steps;      /* of an update; 500 */
  int32_t pending;    /* new examples that wait at most; 512 */
  float rate;         /* share of the learning rate at which gradient descent may diverge; 1 */
  float momentum;     /* 0.9 */
  float temperature;  /* of the old head's soft targets; 2 */
  float distillation; /* their weight; 0.5 */
  double max_forgetting; /* share of the shipped held-back examples that may become wrong; 0.05; 1: what
                            happens to old ones does not count */
  double max_contradiction; /* share that may have another label, of new examples of known classes
                               about which the present head is sure; 0.5; 1: labels are believed */
  const char *model;  /* SHA-256 of the library's ONNX file in hex (tvmkd_library.digest): a head of
                         another library is refused; NULL: not compared */
} tvmkd_learn_options;

/* Set size to sizeof(tvmkd_learn_info). Counts are of examples. */
typedef struct {
  uint32_t size;
  int32_t features, classes, max_classes, shipped_classes, phase;
  int32_t pending, held_back, replay;
  int32_t guard, guard_shipped, guard_after; /* shipped held-back: all, right at first, right now */
  int32_t fresh, fresh_before, fresh_after;  /* learned held-back */
  int32_t checked, new_before, new_after;    /* held-back of the update */
  int32_t old_won, old_lost; /* both of the first: right with the update's head only, without it only */
  int32_t new_won, new_lost; /* the same of the update's */
  int32_t sure, contradicted; /* new of known classes: the head was sure; and had another label */
  uint64_t added, updates, rejected, rollbacks;
  uint64_t bytes;         /* of the one block */
  const char *reason;     /* of the last rejection, or "" */
  const char *refused;    /* why the state file was not used, or "" */
} tvmkd_learn_info;

typedef struct tvmkd_learner tvmkd_learner;

void tvmkd_learn_defaults(tvmkd_learn_options *options);

/* head: the shipped file. state: this board's file, NULL: nothing is kept; one that is damaged or
 * that another shipped head began is not used, see tvmkd_learn_info.refused. */
tvmkd_learn_status tvmkd_learn_open(const char *head, const char *state,
                                    const tvmkd_learn_options *options, tvmkd_learner **learner);

/* Writes max_classes logits (those of classes that are not there yet are -INFINITY), and returns
 * the number of classes. */
int32_t tvmkd_learn_predict(tvmkd_learner *learner, const float *features, float *logits);

/* Adds a labelled example; new classes have the numbers after those that are known. Of each class
 * every fifth example is held back, beginning with the third; and as soon as 40 wait, the next one of
 * a known class if fewer than one in twenty are. */
tvmkd_learn_status tvmkd_learn_add(tvmkd_learner *learner, const float *features, int32_t label);

/* Begins an update. If there are not the examples for one, and no more can be added, all are dropped. */
tvmkd_learn_status tvmkd_learn_begin(tvmkd_learner *learner);

/* Goes on with it for so many batches; returns the phase. When it is done the state is written; see
 * tvmkd_learn_save for a write that failed. */
tvmkd_learn_phase tvmkd_learn_step(tvmkd_learner *learner, int32_t count);

/* Goes back to the shipped head and its replay memory; a running update is dropped. A state that cannot
 * be written, as on a full disk, is removed: without one the shipped head works. */
tvmkd_learn_status tvmkd_learn_rollback(tvmkd_learner *learner);

/* Writes the state file, after a power cut the old one or the new one is there. */
tvmkd_learn_status tvmkd_learn_save(tvmkd_learner *learner);

void tvmkd_learn_describe(const tvmkd_learner *learner, tvmkd_learn_info *info);

/* The reason of the last failure; with NULL, of this thread's last open. */
const char *tvmkd_learn_error(const tvmkd_learner *learner);

void tvmkd_learn_close(tvmkd_learner *learner); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
