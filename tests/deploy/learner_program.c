/* Teaches a head the examples on stdin while other threads predict; prints what came of it, and the
 * logits of some rows. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvmkd_learn.h"

enum { MOST = 64 };
static tvmkd_learner *learner;
static atomic_int stop, torn;
static float probe[MOST];
static int32_t limit;

/* One update gives one new head: a thread may see two different predictions of a row, the old head's
 * and the new one's, and the old one's never again. */
static void *predict(void *unused) {
  (void)unused;
  float last[MOST], now[MOST];
  int changes = 0;
  tvmkd_learn_predict(learner, probe, last);
  while (!atomic_load(&stop)) {
    tvmkd_learn_predict(learner, probe, now);
    changes += memcmp(last, now, sizeof(float) * (size_t)limit) != 0;
    memcpy(last, now, sizeof last);
  }
  if (changes > 1) atomic_store(&torn, 1);
  return NULL;
}

static float number(void) {
  float found;
  if (scanf("%f", &found) != 1) exit(9);
  return found;
}

int main(int argc, char **argv) {
  if (argc != 2 || tvmkd_learn_open(argv[1], NULL, NULL, &learner)) {
    fprintf(stderr, "%s\n", tvmkd_learn_error(NULL));
    return 8;
  }
  tvmkd_learn_info info = {.size = sizeof info};
  tvmkd_learn_describe(learner, &info);
  limit = info.max_classes;
  pthread_t threads[3];
  for (int each = 0; each < 3; each++) pthread_create(&threads[each], NULL, predict, NULL);
  int examples = (int)number(), rows = (int)number();
  float row[MOST], logits[MOST];
  for (int example = 0; example < examples; example++) {
    int label = (int)number();
    for (int each = 0; each < info.features; each++) row[each] = number();
    if (tvmkd_learn_add(learner, row, label)) {
      fprintf(stderr, "%s\n", tvmkd_learn_error(learner));
      return 7;
    }
  }
  tvmkd_learn_phase phase = TVMKD_LEARN_IDLE;
  tvmkd_learn_begin(learner);
  do phase = tvmkd_learn_step(learner, 10);
  while (phase == TVMKD_LEARN_TRAINING || phase == TVMKD_LEARN_CHECKING);
  atomic_store(&stop, 1);
  for (int each = 0; each < 3; each++) pthread_join(threads[each], NULL);
  tvmkd_learn_describe(learner, &info);
  printf("%s %d %d\n", phase == TVMKD_LEARN_ACCEPTED ? "accepted" : "rejected", info.new_after,
         atomic_load(&torn));
  for (int each = 0; each < rows; each++) {
    for (int place = 0; place < info.features; place++) row[place] = number();
    int32_t classes = tvmkd_learn_predict(learner, row, logits);
    for (int32_t class = 0; class < classes; class++) printf("%.9g ", (double)logits[class]);
    printf("\n");
  }
  tvmkd_learn_close(learner);
  return atomic_load(&torn) ? 6 : 0;
}
