/* The board's side of bench_continual.py: the compiled network's features, and a head that learns.
 *
 *   continual_board HEAD EVERY < images
 *
 * On stdin, little-endian: uint32 counts of images to learn, old and new test images; then for each
 * image an int32 label and the network's input. An update follows every EVERY images. Prints JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net.h"
#include "tvmkd_learn.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void get(void *place, size_t bytes) {
  if (fread(place, 1, bytes, stdin) != bytes) exit(9);
}

static int fail(const char *why) {
  fprintf(stderr, "%s\n", why);
  return 1;
}

int main(int argc, char **argv) {
  const tvmkd_library *model = net_library();
  tvmkd_learn_options options;
  tvmkd_learn_defaults(&options);
  options.model = model->digest;
  options.max_forgetting = argc > 3 ? atof(argv[3]) : options.max_forgetting;
  tvmkd_learner *learner;
  if (argc < 3) return fail("HEAD EVERY [MAX_FORGETTING]");
  if (tvmkd_learn_open(argv[1], NULL, &options, &learner)) return fail(tvmkd_learn_error(NULL));
  tvmkd_options how = {.size = sizeof how, .threads = 1};
  tvmkd_instance *instance;
  if (model->open(&how, &instance)) return fail(model->last_error(NULL));
  tvmkd_learn_info info = {.size = sizeof info};
  tvmkd_learn_describe(learner, &info);
  uint32_t counts[3], many, every = (uint32_t)atoi(argv[2]);
  get(counts, sizeof counts);
  many = counts[0] + counts[1] + counts[2];
  size_t wide = model->inputs[0].bytes;
  float *features = calloc((size_t)many * (size_t)info.features, sizeof(float));
  int32_t *labels = calloc(many, sizeof *labels);
  void *image = aligned_alloc(64, (wide + 63) / 64 * 64);
  void *shipped = aligned_alloc(64, (model->outputs[0].bytes + 63) / 64 * 64);
  float *logits = calloc((size_t)info.max_classes, sizeof(float));
  if (!features || !labels || !image || !shipped || !logits) return fail("no memory");
  double in_features = 0, in_updates = 0, longest = 0, begun;
  for (uint32_t each = 0; each < many; each++) {
    get(&labels[each], sizeof *labels);
    get(image, wide);
    const void *inputs[] = {image};
    void *outputs[] = {shipped, features + (size_t)each * (size_t)info.features};
    begun = now();
    if (model->run(instance, inputs, outputs)) return fail(model->last_error(instance));
    in_features += now() - begun;
  }
  uint32_t right[2][2] = {{0, 0}, {0, 0}};
  for (int after = 0; after < 2; after++) {
    for (uint32_t each = 0; after && each < counts[0]; each++) {
      if (tvmkd_learn_add(learner, features + (size_t)each * (size_t)info.features, labels[each]))
        return fail(tvmkd_learn_error(learner));
      if ((each + 1) % every) continue;
      begun = now();
      if (tvmkd_learn_begin(learner)) return fail(tvmkd_learn_error(learner));
      tvmkd_learn_phase phase;
      do {
        double start = now();
        phase = tvmkd_learn_step(learner, 1);
        if (now() - start > longest) longest = now() - start;
      } while (phase == TVMKD_LEARN_TRAINING || phase == TVMKD_LEARN_CHECKING);
      in_updates += now() - begun;
    }
    for (uint32_t each = counts[0]; each < many; each++) {
      int32_t classes = tvmkd_learn_predict(
          learner, features + (size_t)each * (size_t)info.features, logits);
      int32_t best = 0;
      for (int32_t class = 1; class < classes; class++)
        if (logits[class] > logits[best]) best = class;
      right[after][each >= counts[0] + counts[1]] += best == labels[each];
    }
  }
  tvmkd_learn_describe(learner, &info);
  long peak = 0; /* not ru_maxrss, which the parent's memory counts into */
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &peak);
  if (status) fclose(status);
  printf("{\"old_before\": %.9g, \"new_before\": %.9g, \"old\": %.9g, \"new\": %.9g, "
         "\"accepted\": %d, \"rejected\": %d, \"learner_bytes\": %llu, \"peak_kib\": %ld, "
         "\"features_ms\": %.9g, \"update_s\": %.9g, \"longest_step_ms\": %.9g}\n",
         (double)right[0][0] / counts[1], (double)right[0][1] / counts[2],
         (double)right[1][0] / counts[1], (double)right[1][1] / counts[2], (int)info.updates,
         (int)info.rejected, (unsigned long long)info.bytes, peak,
         1e3 * in_features / many, in_updates / (double)(counts[0] / every), 1e3 * longest);
  return 0;
}
