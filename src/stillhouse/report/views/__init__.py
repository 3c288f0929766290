"""From a stage's ``details`` to what a template prints: plain values, drawings, words. One module per part of the page.

A view never fails on a missing optional value (it prints a dash) and computes no results, only proportions for
the eye. It returns None where its stage has not finished; the template then says so.
"""
