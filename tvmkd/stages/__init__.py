"""The stages of a run, a method each; `tvmkd.pipeline` has them do their work in order."""
