/* The command line of tvmkd-server; its words are those of `tvmkd serve`. */
#ifndef TVMKD_SERVER_COMMAND_LINE_H
#define TVMKD_SERVER_COMMAND_LINE_H

#include "server.h"

/* Parses it into `options`; ends the program for --help, --version and what is wrong. */
void server_options_parse(int argc, char** argv, struct server_options* options);

#endif
