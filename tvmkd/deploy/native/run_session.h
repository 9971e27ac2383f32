/* tvmkd-run --serve-stdin: the protocol of tvmkd.base.wire, one line of JSON a request.
 *
 *   hello {}                          what the model, this process and the board are
 *   run {"inputs": {NAME: BASE64}}    runs once; returns [{"name", "data": BASE64}]
 *   time {"count", "limit_s"}         times runs on the inputs of the last `run`; returns {"ns": [...],
 *                                     "resident_bytes", "peak_bytes", "celsius", "throttled"}
 */
#ifndef TVMKD_RUN_SESSION_H
#define TVMKD_RUN_SESSION_H

#include "run_options.h"
#include "tvmkd.h"

/* Serves until stdin ends. */
int run_session(const tvmkd_library* library, const struct run_options* options, double load_ms);

#endif
