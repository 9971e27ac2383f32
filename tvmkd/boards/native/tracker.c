/* The board's side of TVM's tracker protocol: length and JSON, both ways. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "board.h"

enum { MAGIC = 0x2f271, PUT = 3, UPDATE_INFO = 5, PENDING_KEYS = 7, MOST = 1 << 20 };
static const double PATIENCE = 5.0; /* seconds that the tracker may take for an answer */
static const int UNMATCHED = 4;     /* polls after which a key that nobody used is given up */

/* Sends a message and returns the answer, to be freed; NULL where there is none. */
static char* ask(int fd, const struct text* message) {
  double deadline = now() + PATIENCE;
  int32_t size = (int32_t)message->size;
  if (!send_all(fd, &size, 4, deadline) || !send_all(fd, message->data, message->size, deadline) ||
      !receive_all(fd, &size, 4, deadline) || size <= 0 || size > MOST) {
    return NULL;
  }
  char* answer = malloc((size_t)size + 1);
  if (answer == NULL || !receive_all(fd, answer, (size_t)size, deadline)) {
    free(answer);
    return NULL;
  }
  answer[size] = 0;
  return answer;
}

static bool tell(int fd, struct text* message) {
  char* answer = ask(fd, message);
  bool good = answer != NULL && strcmp(answer, "0") == 0;
  free(answer);
  free(message->data);
  return good;
}

void tracker_close(struct tracker* tracker) {
  if (tracker->fd >= 0) close(tracker->fd);
  tracker->fd = -1;
}

bool tracker_put(struct tracker* tracker, const struct options* options) {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) number = (uint64_t)(now() * 1e9);
  snprintf(tracker->match_key, sizeof tracker->match_key, "%.150s:0.%llu", options->key,
           (unsigned long long)(number % 10000000000000000ull));
  tracker->unmatched = 0;
  struct text message = {0};
  text_add(&message, "[%d, ", PUT);
  text_add_json(&message, options->key);
  text_add(&message, ", [%d, ", options->port);
  text_add_json(&message, tracker->match_key);
  text_add(&message, "], ");
  text_add_json(&message, options->custom_addr);
  text_add(&message, "]");
  return tell(tracker->fd, &message);
}

bool tracker_open(struct tracker* tracker, const struct options* options) {
  double deadline = now() + PATIENCE;
  int32_t magic = MAGIC;
  tracker->fd = connect_to(options->tracker_host, options->tracker_port, deadline);
  if (tracker->fd < 0) return false;
  bool good = send_all(tracker->fd, &magic, 4, deadline) &&
              receive_all(tracker->fd, &magic, 4, deadline);
  if (good && magic != MAGIC) {
    say("what listens at %s:%d is no TVM tracker", options->tracker_host, options->tracker_port);
    good = false;
  }
  if (good) {
    struct text key = {0}, message = {0};
    text_add(&key, "server:%s", options->key);
    text_add(&message, "[%d, {\"key\": ", UPDATE_INFO);
    text_add_json(&message, key.data);
    text_add(&message, ", \"addr\": [");
    text_add_json(&message, options->custom_addr);
    text_add(&message, ", %d]}]", options->port);
    free(key.data);
    good = tell(tracker->fd, &message);
  }
  if (!good) tracker_close(tracker);
  return good;
}

bool tracker_poll(struct tracker* tracker, const struct options* options) {
  struct text message = {0}, quoted = {0};
  text_add(&message, "[%d]", PENDING_KEYS);
  char* answer = ask(tracker->fd, &message);
  free(message.data);
  if (answer == NULL) return false;
  text_add_json(&quoted, tracker->match_key);
  tracker->unmatched = strstr(answer, quoted.data) != NULL ? 0 : tracker->unmatched + 1;
  free(quoted.data);
  free(answer);
  return tracker->unmatched < UNMATCHED || tracker_put(tracker, options);
}
