/* Which versions of a model are loaded: Triton's version_policy, {"latest": {"num_versions": 1}},
 * {"all": {}} or {"specific": {"versions": [1, 3]}}. */
#ifndef TVMKD_VERSION_POLICY_H
#define TVMKD_VERSION_POLICY_H

#include "fault.h"
#include "json.h"
#include "model_source.h"

/* Sets chosen[i] for each version that the policy names; no value: the newest. False: the fault. */
bool version_policy_choose(struct json policy, const struct source_versions* versions, bool* chosen,
                           struct fault* fault);

#endif
