/* map.h - the map that GET /v1/map gives, held by the server. */
#ifndef MAGPIE_MAP_H
#define MAGPIE_MAP_H

#include "core.h"

typedef struct catalogue_map catalogue_map;

MAGPIE_CHECK_RESULT magpie_status catalogue_map_create(catalogue_map **out);
void catalogue_map_free(catalogue_map *map);

#endif
