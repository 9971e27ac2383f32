/* The learner: as learner.py in tvmkd/deploy/board_learner, decision for decision. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "learner.h"

static _Thread_local char open_error[200] = "";

#define SAY(place, ...) snprintf(place, sizeof place, __VA_ARGS__)

void tvmkd_learn_defaults(tvmkd_learn_options *options) {
  *options = (tvmkd_learn_options){.size = sizeof *options,
                                   .batch = 32,
                                   .steps = 500,
                                   .pending = 512,
                                   .rate = 1,
                                   .momentum = 0.9f,
                                   .temperature = 2,
                                   .distillation = 0.5f,
                                   .max_forgetting = 0.05,
                                   .max_contradiction = 0.5};
}

/* What is wrong with options, or NULL. NaN is never inside. */
static const char *wrong_option(const tvmkd_learn_options *o) {
#define INSIDE(value, low, high) ((value) >= (low) && (value) <= (high))
  if (o->size < sizeof *o) return "options: size is not that of tvmkd_learn_options";
  if (!INSIDE(o->batch, 1, 4096)) return "options: batch has to be from 1 to 4096";
  if (!INSIDE(o->steps, 1, 1000000)) return "options: steps has to be from 1 to 1000000";
  if (!INSIDE(o->pending, 8, 1 << 16)) return "options: pending has to be from 8 to 65536";
  if (!INSIDE(o->rate, 1e-6f, 2)) return "options: rate has to be from 1e-06 to 2";
  if (!INSIDE(o->momentum, 0, 0.999f)) return "options: momentum has to be from 0 to 0.999";
  if (!INSIDE(o->temperature, 0.1f, 100)) return "options: temperature has to be from 0.1 to 100";
  if (!INSIDE(o->distillation, 0, 1000)) return "options: distillation has to be from 0 to 1000";
  if (!INSIDE(o->max_forgetting, 0, 1)) return "options: max_forgetting has to be from 0 to 1";
  if (!INSIDE(o->max_contradiction, 0, 1))
    return "options: max_contradiction has to be from 0 to 1";
  return NULL;
}

/* Whether the head belongs to the library with this hash in hex. */
static int same_model(const tvmkd_head *head, const char *hex) {
  char ours[2 * DIGEST_BYTES + 1];
  for (int each = 0; each < DIGEST_BYTES; each++)
    snprintf(ours + 2 * each, 3, "%02x", head->header->model[each]);
  return !strcmp(ours, hex);
}

static void *take(unsigned char *block, size_t *used, size_t bytes) {
  void *found = block ? block + *used : NULL;
  *used += (bytes + 63) / 64 * 64;
  return found;
}

/* The parts of the block, one after the other; with NULL only its size. */
static size_t lay_out(const tvmkd_head *file, const tvmkd_learn_options *options,
                      unsigned char *block) {
  tvmkd_learner scratch, *l = block ? (tvmkd_learner *)block : &scratch;
  size_t used = 0, limit = file->header->limit, features = file->header->features;
  size_t pending = (size_t)options->pending, whole = limit * features;
  take(block, &used, sizeof(tvmkd_learner));
  unsigned char *head = take(block, &used, file->bytes), *shipped = take(block, &used, file->bytes);
  if (block) {
    memcpy(head, file->header, file->bytes);
    memcpy(shipped, file->header, file->bytes);
    tvmkd_head_place(&l->head, head);
    tvmkd_head_place(&l->shipped, shipped);
  }
  for (int each = 0; each < 2; each++) {
    l->actives[each].weights = take(block, &used, 4 * whole);
    l->actives[each].bias = take(block, &used, 4 * limit);
  }
  l->labels = take(block, &used, 2 * pending);
  l->rows = take(block, &used, 2 * pending * features);
  l->held = take(block, &used, pending);
  l->learned = take(block, &used, 4 * pending);
  l->seen = take(block, &used, 4 * limit);
  l->kept = take(block, &used, 4 * limit);
  float **wholes[] = {&l->weights, &l->speed, &l->gradient};
  for (int each = 0; each < 3; each++) *wholes[each] = take(block, &used, 4 * whole);
  float **narrow[] = {&l->bias, &l->bias_speed, &l->bias_gradient, &l->logits, &l->soft, &l->cooled};
  for (int each = 0; each < 6; each++) *narrow[each] = take(block, &used, 4 * limit);
  float **wide[] = {&l->mean, &l->row, &l->centred};
  for (int each = 0; each < 3; each++) *wide[each] = take(block, &used, 4 * features);
  l->sums = take(block, &used, 8 * features);
  return used;
}

/* Puts a head in the place of the one that predicts; waits for readers of the place that it takes. */
static void publish(tvmkd_learner *learner, const float *weights, const float *bias,
                    int32_t classes) {
  int next = !atomic_load(&learner->active);
  tvmkd_active *place = &learner->actives[next];
  /* It sleeps, since a reader may have a lower priority. */
  while (atomic_load(&place->readers)) nanosleep(&(struct timespec){0, 100000}, NULL);
  memcpy(place->weights, weights, 4 * (size_t)classes * learner->head.header->features);
  memcpy(place->bias, bias, 4 * (size_t)classes);
  place->classes = classes;
  atomic_store(&learner->active, next);
}

/* Forgets the counts of the last update. */
static void clear(tvmkd_learner *learner) {
  learner->found = (tvmkd_learn_counts){.guard_shipped = learner->found.guard_shipped};
}

static void forget(tvmkd_learner *learner) {
  learner->count = 0;
  memset(learner->seen, 0, 4 * (size_t)learner->head.header->limit);
  learner->phase = TVMKD_LEARN_IDLE;
}

/* Whether the head that predicts is right of an example; l->logits are its logits. */
static int32_t right_now(tvmkd_learner *l, const tvmkd_examples *set, uint32_t number) {
  const tvmkd_active *old = &l->actives[atomic_load(&l->active)];
  size_t features = l->head.header->features;
  tvmkd_learn_widen(set->rows + number * features, features, l->row);
  tvmkd_learn_logits(old->weights, old->bias, old->classes, features, l->row, l->logits);
  return tvmkd_learn_right(l->logits, old->classes, set->labels[number]);
}

static int32_t right_then(tvmkd_learner *l, const tvmkd_examples *set, uint32_t number) {
  size_t features = l->head.header->features;
  tvmkd_learn_widen(set->rows + number * features, features, l->row);
  tvmkd_learn_logits(l->weights, l->bias, l->classes, features, l->row, l->logits);
  return tvmkd_learn_right(l->logits, l->classes, set->labels[number]);
}

/* Whether a state has the sizes and the origin of the shipped head. */
static int same_head(const tvmkd_head_header *state, const tvmkd_head_header *ours) {
  int same = !memcmp(state->origin, ours->origin, DIGEST_BYTES) && state->limit == ours->limit &&
             state->features == ours->features && state->shipped == ours->shipped;
  for (int each = 0; each < 6; each += 2) same = same && state->rooms[each] == ours->rooms[each];
  return same;
}

/* Uses the state's file in place of the shipped head, or says why not. */
static void use_state(tvmkd_learner *l) {
  unsigned char *data;
  size_t bytes;
  int error = tvmkd_head_read(l->path, &data, &bytes);
  if (error == ENOENT) return;
  tvmkd_head found;
  const char *wrong = error ? strerror(error) : tvmkd_head_parse(&found, data, bytes);
  if (!wrong && !same_head(found.header, l->head.header))
    wrong = "belongs to another shipped head";
  if (wrong)
    SAY(l->refused, "%.100s: %.60s; the shipped head is used", l->path, wrong);
  else
    memcpy(l->head.header, data, bytes);
  free(data);
}

tvmkd_learn_status tvmkd_learn_open(const char *path, const char *state,
                                    const tvmkd_learn_options *given, tvmkd_learner **made) {
  tvmkd_learn_options options;
  tvmkd_learn_defaults(&options);
  if (given) options = *given;
  const char *wrong = !path || !made ? "open: head or learner is NULL" : wrong_option(&options);
  if (!wrong && state && strlen(state) >= sizeof((tvmkd_learner *)0)->path)
    wrong = "open: the path of the state is too long";
  if (made) *made = NULL;
  if (wrong) {
    SAY(open_error, "%s", wrong);
    return TVMKD_LEARN_BAD_ARGUMENT;
  }
  unsigned char *data;
  size_t bytes;
  int error = tvmkd_head_read(path, &data, &bytes);
  if (error) {
    SAY(open_error, "%.120s: cannot be read: %s", path, strerror(error));
    return TVMKD_LEARN_SYSTEM;
  }
  tvmkd_head file;
  wrong = tvmkd_head_parse(&file, data, bytes);
  if (!wrong && options.model && !same_model(&file, options.model))
    wrong = "belongs to another library";
  if (wrong) {
    SAY(open_error, "%.120s: %s", path, wrong);
    free(data);
    return TVMKD_LEARN_DAMAGED;
  }
  size_t size = lay_out(&file, &options, NULL);
  unsigned char *block = aligned_alloc(64, size);
  if (!block) {
    free(data);
    SAY(open_error, "open: no memory");
    return TVMKD_LEARN_NO_MEMORY;
  }
  memset(block, 0, size);
  lay_out(&file, &options, block);
  free(data);
  tvmkd_learner *l = (tvmkd_learner *)block;
  l->options = options;
  l->options.model = NULL;
  l->bytes = size;
  memcpy(l->head.header->origin,
         (unsigned char *)l->shipped.header + l->shipped.bytes - DIGEST_BYTES, DIGEST_BYTES);
  atomic_init(&l->active, 0);
  for (int each = 0; each < 2; each++) atomic_init(&l->actives[each].readers, 0);
  publish(l, l->shipped.weights, l->shipped.bias, (int32_t)l->shipped.header->classes);
  for (uint32_t each = 0; each < *l->shipped.guard.count; each++)
    l->found.guard_shipped += right_now(l, &l->shipped.guard, each);
  if (state) {
    SAY(l->path, "%s", state);
    use_state(l);
    publish(l, l->head.weights, l->head.bias, (int32_t)l->head.header->classes);
  }
  *made = l;
  return TVMKD_LEARN_OK;
}

int32_t tvmkd_learn_predict(tvmkd_learner *learner, const float *features, float *logits) {
  for (;;) {
    int now = atomic_load(&learner->active);
    tvmkd_active *head = &learner->actives[now];
    atomic_fetch_add(&head->readers, 1);
    if (atomic_load(&learner->active) != now) { /* it may be written already */
      atomic_fetch_sub(&head->readers, 1);
      continue;
    }
    int32_t classes = head->classes;
    const tvmkd_head_header *sizes = learner->shipped.header; /* nobody writes it */
    tvmkd_learn_logits(head->weights, head->bias, classes, sizes->features, features, logits);
    atomic_fetch_sub(&head->readers, 1);
    for (int32_t each = classes; each < (int32_t)sizes->limit; each++)
      logits[each] = -INFINITY;
    return classes;
  }
}

static tvmkd_learn_status refuse(tvmkd_learner *learner, tvmkd_learn_status status,
                                 const char *format, ...) {
  va_list words;
  va_start(words, format);
  vsnprintf(learner->error, sizeof learner->error, format, words);
  va_end(words);
  return status;
}

static int runs(const tvmkd_learner *learner) {
  return learner->phase == TVMKD_LEARN_TRAINING || learner->phase == TVMKD_LEARN_CHECKING;
}

static int32_t wanted(const tvmkd_learner *learner) {
  int32_t found = learner->actives[atomic_load(&learner->active)].classes;
  for (int32_t each = 0; each < learner->count; each++)
    if (learner->labels[each] >= found) found = learner->labels[each] + 1;
  return found;
}

static int32_t held_count(const tvmkd_learner *learner) {
  int32_t found = 0;
  for (int32_t each = 0; each < learner->count; each++) found += learner->held[each];
  return found;
}

tvmkd_learn_status tvmkd_learn_add(tvmkd_learner *l, const float *features, int32_t label) {
  tvmkd_head_header *header = l->head.header;
  if (!features) return refuse(l, TVMKD_LEARN_BAD_ARGUMENT, "add: features is NULL");
  if (runs(l))
    return refuse(l, TVMKD_LEARN_NOT_READY, "an update runs; add examples when it is done");
  for (uint32_t each = 0; each < header->features; each++)
    if (!(fabsf(features[each]) <= 65504))
      return refuse(l, TVMKD_LEARN_BAD_ARGUMENT,
                    "a feature is not finite, or beyond half precision (65504)");
  if (label < 0 || label >= (int32_t)header->limit)
    return refuse(l, TVMKD_LEARN_BAD_ARGUMENT, "label %d: there may be %u classes at most", label,
                  header->limit);
  if (l->count == l->options.pending)
    return refuse(l, TVMKD_LEARN_NOT_READY, "%d examples wait; begin an update first", l->count);
  /* Of many classes none may come three times. */
  int few = l->count >= FEW && 20 * held_count(l) < l->count;
  int known = label < l->actives[atomic_load(&l->active)].classes;
  size_t at = (size_t)l->count++;
  l->held[at] = l->seen[label]++ % 5 == 2 || (few && known);
  l->labels[at] = (uint16_t)label;
  for (size_t each = 0; each < header->features; each++)
    l->rows[at * header->features + each] = tvmkd_float_to_half(features[each]);
  header->added++;
  return TVMKD_LEARN_OK;
}

tvmkd_learn_status tvmkd_learn_begin(tvmkd_learner *l) {
  if (runs(l)) return refuse(l, TVMKD_LEARN_NOT_READY, "an update runs already");
  tvmkd_learn_status missing = TVMKD_LEARN_OK;
  int32_t each = l->actives[atomic_load(&l->active)].classes, all = wanted(l);
  while (each < all && l->seen[each]) each++;
  const char *dropped = l->count == l->options.pending ? "; all that wait were dropped" : "";
  if (held_count(l) < LEAST_HELD)
    missing = refuse(l, TVMKD_LEARN_NOT_READY,
                     "too few new examples: %d are held back of %d, and %d have to be%s",
                     held_count(l), l->count, LEAST_HELD, dropped);
  else if (each < all)
    missing = refuse(l, TVMKD_LEARN_BAD_ARGUMENT,
                     "class %d has no example, and class %d has: number new classes without gaps%s",
                     each, all - 1, dropped);
  if (missing && *dropped) forget(l);
  if (missing) return missing;
  l->learned_count = 0;
  for (int32_t each = 0; each < l->count; each++)
    if (!l->held[each]) l->learned[l->learned_count++] = each;
  l->classes = all;
  tvmkd_learn_prepare(l);
  l->done = 0;
  l->reason[0] = 0;
  clear(l);
  l->phase = TVMKD_LEARN_TRAINING;
  return TVMKD_LEARN_OK;
}

static void accept(tvmkd_learner *l) {
  tvmkd_head_header *header = l->head.header;
  size_t features = header->features;
  header->updates++;
  header->classes = (uint32_t)l->classes;
  memcpy(l->head.weights, l->weights, 4 * (size_t)l->classes * features);
  memcpy(l->head.bias, l->bias, 4 * (size_t)l->classes);
  for (int32_t each = 0; each < l->count; each++)
    tvmkd_examples_offer(l->held[each] ? &l->head.fresh : &l->head.replay, header->limit,
                         header->features, l->rows + (size_t)each * features, l->labels[each],
                         &header->random, l->kept);
  publish(l, l->weights, l->bias, l->classes);
}

static void decide(tvmkd_learner *l) {
  int finite = 1;
  for (size_t each = 0; each < (size_t)l->classes * l->head.header->features; each++)
    finite = finite && isfinite(l->weights[each]);
  for (int32_t each = 0; each < l->classes; each++) finite = finite && isfinite(l->bias[each]);
  l->found.guard = (int32_t)*l->shipped.guard.count;
  l->found.fresh = (int32_t)*l->head.fresh.count;
  l->found.checked = held_count(l);
  if (!finite)
    SAY(l->reason, "the weights are not finite");
  else
    tvmkd_learn_verdict(&l->found, l->options.max_forgetting, l->options.max_contradiction,
                        l->reason, sizeof l->reason);
  if (l->reason[0])
    l->head.header->rejected++;
  else
    accept(l);
  forget(l);
  l->phase = l->reason[0] ? TVMKD_LEARN_REJECTED : TVMKD_LEARN_ACCEPTED;
  tvmkd_learn_save(l);
}

/* Whether the head that predicts is sure, from its logits in l->logits. */
static int sure_now(const tvmkd_learner *l) {
  int32_t classes = l->actives[atomic_load(&l->active)].classes;
  float most = l->logits[0], apart = 0;
  for (int32_t each = 1; each < classes; each++) most = fmaxf(most, l->logits[each]);
  for (int32_t each = 0; each < classes; each++) apart += expf(l->logits[each] - most);
  return apart <= (float)(1 / SURE);
}

/* Counts what both heads get right; of new examples, which ones contradict the present head. */
static void compare(tvmkd_learner *l, int set, const tvmkd_examples *examples, uint32_t number) {
  tvmkd_learn_counts *found = &l->found;
  int32_t before = right_now(l, examples, number);
  if (set == 2 && examples->labels[number] < l->actives[atomic_load(&l->active)].classes &&
      sure_now(l))
    found->sure++, found->contradicted += !before;
  if (set == 2 && !l->held[number]) return;
  int32_t after = right_then(l, examples, number);
  int32_t *afters[] = {&found->guard_after, &found->fresh_after, &found->new_after};
  *afters[set] += after;
  if (set == 1) found->fresh_before += before;
  if (set == 2) found->new_before += before;
  *(set == 2 ? &found->new_won : &found->old_won) += after && !before;
  *(set == 2 ? &found->new_lost : &found->old_lost) += before && !after;
}

/* Compares both heads on the next held-back examples. */
static void check(tvmkd_learner *l) {
  uint32_t many = (uint32_t)l->count;
  tvmkd_examples new = {.count = &many, .labels = l->labels, .rows = l->rows};
  const tvmkd_examples *sets[] = {&l->shipped.guard, &l->head.fresh, &new};
  uint64_t place = l->done;
  for (int set = 0; set < 3; place -= *sets[set++]->count) {
    if (place >= *sets[set]->count) continue;
    uint64_t end = place + (uint64_t)l->options.batch;
    if (end > *sets[set]->count) end = *sets[set]->count;
    for (; place < end; place++, l->done++) compare(l, set, sets[set], (uint32_t)place);
    return;
  }
  decide(l);
}

tvmkd_learn_phase tvmkd_learn_step(tvmkd_learner *learner, int32_t count) {
  for (; count > 0 && runs(learner); count--)
    if (learner->phase == TVMKD_LEARN_TRAINING)
      tvmkd_learn_train(learner);
    else
      check(learner);
  return (tvmkd_learn_phase)learner->phase;
}

tvmkd_learn_status tvmkd_learn_rollback(tvmkd_learner *l) {
  tvmkd_head_header *header = l->head.header, counted = *header;
  memcpy(header, l->shipped.header, l->shipped.bytes);
  memcpy(header->origin, counted.origin, DIGEST_BYTES);
  header->random = counted.random;
  header->added = counted.added;
  header->updates = counted.updates;
  header->rejected = counted.rejected;
  header->rollbacks = counted.rollbacks + 1;
  publish(l, l->head.weights, l->head.bias, (int32_t)header->classes);
  forget(l);
  l->reason[0] = 0;
  clear(l);
  if (!tvmkd_learn_save(l)) return TVMKD_LEARN_OK;
  /* A full disk: without a state, too, the shipped head is what works. */
  int error = tvmkd_head_remove(l->path);
  if (!error) return TVMKD_LEARN_OK;
  return refuse(l, TVMKD_LEARN_SYSTEM, "%.120s: can be neither written nor removed: %s", l->path,
                strerror(error));
}

tvmkd_learn_status tvmkd_learn_save(tvmkd_learner *learner) {
  int error = learner->path[0] ? tvmkd_head_write(learner->path, &learner->head) : 0;
  if (!error) return TVMKD_LEARN_OK;
  return refuse(learner, TVMKD_LEARN_SYSTEM, "%.120s: cannot be written: %s", learner->path,
                strerror(error));
}

void tvmkd_learn_describe(const tvmkd_learner *l, tvmkd_learn_info *info) {
  const tvmkd_head_header *header = l->head.header;
  tvmkd_learn_info found = {
      .features = (int32_t)header->features,
      .classes = l->actives[atomic_load(&l->active)].classes,
      .max_classes = (int32_t)header->limit,
      .shipped_classes = (int32_t)header->shipped,
      .phase = l->phase,
      .pending = l->count,
      .held_back = held_count(l),
      .replay = (int32_t)*l->head.replay.count,
      .guard = (int32_t)*l->shipped.guard.count,
      .guard_shipped = l->found.guard_shipped,
      .guard_after = l->found.guard_after,
      .fresh = (int32_t)*l->head.fresh.count,
      .fresh_before = l->found.fresh_before,
      .fresh_after = l->found.fresh_after,
      .checked = l->found.checked,
      .new_before = l->found.new_before,
      .new_after = l->found.new_after,
      .old_won = l->found.old_won,
      .old_lost = l->found.old_lost,
      .new_won = l->found.new_won,
      .new_lost = l->found.new_lost,
      .sure = l->found.sure,
      .contradicted = l->found.contradicted,
      .added = header->added,
      .updates = header->updates,
      .rejected = header->rejected,
      .rollbacks = header->rollbacks,
      .bytes = l->bytes,
      .reason = l->reason,
      .refused = l->refused,
  };
  uint32_t size = info->size < sizeof found ? info->size : (uint32_t)sizeof found;
  found.size = info->size;
  memcpy(info, &found, size);
}

const char *tvmkd_learn_error(const tvmkd_learner *learner) {
  return learner ? learner->error : open_error;
}

void tvmkd_learn_close(tvmkd_learner *learner) { free(learner); }
