/* The state of tvmkd-server: one thread, so everything is in one place. */
#ifndef TVMKD_SERVER_H
#define TVMKD_SERVER_H

#include "repository.h"

struct server_options {
  const char* host;
  int port;
  const char* paths[256]; /* of models */
  const char* names[256]; /* for the first paths; NULL: their own */
  int path_count, name_count;
  struct version_limits limits;
  double timeout_ms; /* for requests that say none; 0: none */
  uint64_t max_body, max_head, max_memory; /* bytes: of a body, of a head, of all bodies */
  double read_s;
  int connections;
  char token[256]; /* empty: none */
  int control;     /* -1: if only this machine, or only who has the token, can ask */
  bool json, health;
};

struct server {
  struct server_options options;
  struct repository repository;
  uint64_t refused[FAULT_KINDS]; /* requests that reached no model */
  int connection_count;
  uint64_t body_bytes; /* that bodies take now */
  bool loopback, control, stopping;
  int64_t started_ns;
};

extern struct server server;

#endif
