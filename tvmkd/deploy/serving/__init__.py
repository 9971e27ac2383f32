"""``tvmkd serve``: artifacts behind the Open Inference Protocol (KServe v2), over REST and gRPC.

One process speaks the protocols (`server`, `rest`, `grpc_service`); each instance of a model is a
process of its own (`instance`) that shares memory with it (`channel`). A `pool` has the instances
of one version of a model, its queue and its deadlines; the `repository` has the models.
"""
