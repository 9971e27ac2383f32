/* Notes the time at which TVM's virtual machine begins and ends each call.
 *
 * TVM calls the function before and after each call: see `tvmkd/runtime/call_timer.py`. Compiled
 * code takes about 50 ns for it, a Python function several microseconds.
 */
#include <stdint.h>
#include <time.h>

typedef struct {
  int32_t type_index;
  int32_t padding;
  int64_t value;
} Any;

static int64_t *ticks;
static int64_t room, used;

void tvmkd_call_timer_into(int64_t *buffer, int64_t count) {
  ticks = buffer;
  room = count;
  used = 0;
}

int64_t tvmkd_call_timer_used(void) { return used; }

int __tvm_ffi_tvmkd_call_timer(void *self, const Any *args, int32_t count, Any *result) {
  (void)self, (void)args, (void)count;
  if (used < room) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ticks[used] = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
  }
  used++;
  result->type_index = 0; /* None: run the call */
  result->value = 0;
  return 0;
}
