/* Keeps the best of many candidates in a list of fixed size, and sorts it. */
#include "frames.h"

int tvmkd_rt_better(tvmkd_candidate a, tvmkd_candidate b) {
  return a.score > b.score || (a.score == b.score && a.rank < b.rank);
}

/* Moves the candidate at `place` down until no child of it is worse: a heap, the worst on top. */
static void sink(tvmkd_candidate *list, uint32_t count, uint32_t place) {
  tvmkd_candidate moved = list[place];
  for (uint32_t child; (child = 2 * place + 1) < count; place = child) {
    if (child + 1 < count && tvmkd_rt_better(list[child], list[child + 1])) child++;
    if (!tvmkd_rt_better(moved, list[child])) break;
    list[place] = list[child];
  }
  list[place] = moved;
}

static void heapify(tvmkd_candidate *list, uint32_t count) {
  for (uint32_t place = count / 2; place-- > 0;) sink(list, count, place);
}

/* Adds a candidate; a full list loses its worst one, which is then first in it. 1 if it is full. */
int tvmkd_rt_offer(tvmkd_candidate *list, uint32_t *count, uint32_t most, tvmkd_candidate one) {
  if (*count < most) {
    list[(*count)++] = one;
    if (*count < most) return 0;
    heapify(list, most);
  } else if (tvmkd_rt_better(one, list[0])) {
    list[0] = one;
    sink(list, most, 0);
  }
  return 1;
}

/* Sorts, the best first. */
void tvmkd_rt_sort(tvmkd_candidate *list, uint32_t count) {
  heapify(list, count);
  while (count > 1) {
    tvmkd_candidate worst = list[0];
    list[0] = list[--count];
    list[count] = worst;
    sink(list, count, 0);
  }
}
