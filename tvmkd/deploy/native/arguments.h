/* A command line: options as --name VALUE or --name=VALUE, flags, and at most a few plain words. */
#ifndef TVMKD_ARGUMENTS_H
#define TVMKD_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arguments {
  char** at; /* the next word */
  char** end;
  const char* name;  /* the option that was taken last, "--cpus" */
  const char* value; /* what stood behind its "=", or NULL */
};

struct arguments arguments_of(int argc, char** argv);

/* Takes the next word. Returns true if there was one: its name is in `name` if it is an option, and
 * else NULL, with the word in `value`. */
bool arguments_next(struct arguments* arguments);

/* The value of the option that was taken last. These end the program with EXIT_USAGE where it is
 * missing or not what is asked for. */
const char* argument_text(struct arguments* arguments);
int64_t argument_integer(struct arguments* arguments, int64_t low, int64_t high);
double argument_number(struct arguments* arguments, double low, double high);

/* "0,2-3" as a list of CPUs; returns their number. The list is freed by free. */
int argument_cpus(struct arguments* arguments, int32_t** cpus);

/* "1280x720": two whole numbers above 0. */
void argument_size(struct arguments* arguments, int32_t* width, int32_t* height);

/* The place of the value in a list of words. */
int argument_word(struct arguments* arguments, const char* const* words, int count);

/* "50,99,99.9": numbers from 0 to 100; returns how many. */
int argument_percentiles(struct arguments* arguments, double* out, int room);

/* Ends the program if the last option has a value. */
void argument_flag(struct arguments* arguments);

#endif
