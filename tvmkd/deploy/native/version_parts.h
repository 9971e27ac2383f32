/* What version.c and version_instances.c share. */
#ifndef TVMKD_VERSION_PARTS_H
#define TVMKD_VERSION_PARTS_H

#include "version.h"

/* Ends a job: with its outputs, or with a fault. */
void version_finish(struct infer_job* job, const char* shared, const struct instance_answer* answer,
                    const struct fault* fault);

/* "model 'x' version '1'", for messages. */
void version_label(const struct version* version, char* out, size_t room);

/* Seconds after which another attempt may succeed. */
int version_retry_after(const struct version* version);

/* Removes a job from the queue. */
void version_take_waiting(struct version* version, int place);

/* Gives idle instances the waiting requests that can still be done in time. */
void version_hand_out(struct version* version);

/* Starts an instance, for the first time or again. */
void version_start(struct version* version, int number);

extern const double version_first_pause, version_most_pause; /* seconds before a restart */

#endif
