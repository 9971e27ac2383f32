/* Feeds a model with frames from stdin: its one kernel reads the outputs from stdin, too, so that a
 * test chooses them. For each frame: struct head, pixels, outputs; answered by struct answer, the
 * model's input, and the results; or by the status and nothing more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

struct head {
  int32_t width, height, order, rows, stride, room; /* rows: of stride bytes each that follow */
  double threshold, overlap;
};
struct answer {
  int32_t status, count, total;
  char error[100];
};

const tvmkd_library *tvmkd_library_v1(void);
static float *seen;

static size_t bytes_of(const tvmkd_dltensor *tensor) {
  size_t bytes = tensor->bits / 8;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) bytes *= (size_t)tensor->shape[axis];
  return bytes;
}

static void must(int good, const char *what) {
  if (good) return;
  fprintf(stderr, "%s\n", what);
  exit(3);
}

int32_t kernel(void *self, const tvmkd_argument *arguments, int32_t count, tvmkd_argument *result);
int32_t kernel(void *self, const tvmkd_argument *arguments, int32_t count, tvmkd_argument *result) {
  (void)self, (void)result;
  memcpy(seen, arguments[0].tensor->data, bytes_of(arguments[0].tensor));
  for (int32_t each = 1; each < count; each++) {
    const tvmkd_dltensor *tensor = arguments[each].tensor;
    must(fread(tensor->data, 1, bytes_of(tensor), stdin) == bytes_of(tensor), "outputs are missing");
  }
  return 0;
}

int main(int argc, char **argv) {
  const tvmkd_library *library = tvmkd_library_v1();
  tvmkd_options options = {.size = sizeof options, .threads = argc > 1 ? atoi(argv[1]) : 1};
  tvmkd_instance *instance;
  must(library->open(&options, &instance) == TVMKD_OK, library->last_error(NULL));
  seen = malloc(library->inputs[0].bytes);
  struct head head;
  while (fread(&head, sizeof head, 1, stdin) == 1) {
    size_t stride = (size_t)abs(head.stride), bytes = (size_t)head.rows * stride;
    /* Just as large as needed, so that a byte read beyond is found. */
    uint8_t *pixels = malloc(bytes);
    must(fread(pixels, 1, bytes, stdin) == bytes, "pixels are missing");
    tvmkd_result *found = malloc((size_t)head.room * sizeof *found + 1);
    tvmkd_frame frame = {sizeof frame, head.width, head.height, head.order, pixels, head.stride,
                         0};
    if (head.stride < 0) frame.pixels += (size_t)(head.rows - 1) * stride;
    tvmkd_results results = {.size = sizeof results, .room = head.room, .found = found,
                             .threshold = head.threshold, .overlap = head.overlap};
    struct answer answer = {0};
    answer.status = (int32_t)library->run_frame(instance, &frame, NULL, &results);
    answer.count = results.count;
    answer.total = results.total;
    if (answer.status) strncpy(answer.error, library->last_error(instance), sizeof answer.error - 1);
    fwrite(&answer, sizeof answer, 1, stdout);
    if (!answer.status) {
      fwrite(seen, 1, library->inputs[0].bytes, stdout);
      fwrite(found, sizeof *found, (size_t)results.count, stdout);
    }
    free(found);
    free(pixels);
  }
  library->close(instance);
  free(seen);
  return 0;
}
