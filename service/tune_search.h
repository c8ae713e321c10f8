/* tune_search.h - better parameters for a ranker, within a time: successive halving (Jamieson and Talwalkar
 * 2016). Many candidates are trained a little, the better half of them twice as long, and so on; where a
 * model is had in one step, all are trained, as many as there is time for. */
#ifndef MAGPIE_TUNE_SEARCH_H
#define MAGPIE_TUNE_SEARCH_H

#include "likes.h"

enum { TUNE_CANDIDATES_MOST = 256, TUNE_RUNGS_MOST = 5 };

typedef struct tune_candidate {
    magpie_ranker_options options;
    size_t number; /* 0: what the search began with */
    size_t epochs; /* that were run */
    double hit_rate, seconds;
    bool measured, finished; /* finished: more epochs are of no use */
} tune_candidate;

typedef struct tune_options {
    magpie_ranker_options start; /* its seed is that of the candidates too */
    double budget;               /* seconds */
    size_t candidates;           /* at most */
} tune_options;

typedef struct tune_result {
    tune_candidate candidates[TUNE_CANDIDATES_MOST]; /* the best first; those that were measured */
    size_t n, rungs;
    double seconds;
    bool interrupted;
} tune_result;

/* By what epochs are kept by: HR@10 of the like of each user that is set aside; of the best epoch so far
 * where there is patience to keep it, else of the last one. The first candidate is `start`. In the others
 * about half of the parameters that are worth it are drawn from their ranges, but none that was given as an
 * option; no two are alike. Trains into a folder of its own in `store`, which is removed. Says on a terminal
 * how far it is. An interrupt ends it, with what there is. MAGPIE_E_CANCELLED: there was no time for
 * anything. */
MAGPIE_CHECK_RESULT magpie_status tune_search(const likes *likes, const char *store,
                                              const tune_options *options, tune_result *out);

/* Whether candidates differ in it. */
bool tune_is_searched(const magpie_ranker_options *start, const magpie_ranker_parameter *parameter,
                      double *from, double *to);

#endif
