/* timestamp.c - RFC 3339 by hand: strptime knows no fractions and no "+02:00", and mktime asks for the time
 * zone of the machine, which must not change what a catalogue means. */
#include "timestamp.h"

#include <string.h>

/* Reads exactly `digits` decimal digits, and moves on. */
static bool read_number(const char **at, unsigned digits, int *out) {
    int value = 0;
    for (unsigned i = 0; i < digits; i++) {
        char c = (*at)[i];
        if (c < '0' || c > '9') return false;
        value = value * 10 + (c - '0');
    }
    *at += digits;
    *out = value;
    return true;
}

static bool read_character(const char **at, const char *allowed) {
    if (!**at || !strchr(allowed, **at)) return false;
    ++*at;
    return true;
}

static int days_of_month(int year, int month) {
    static const signed char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days from 1970-01-01, by the proleptic Gregorian calendar. The year is taken to begin in March, so that the
 * leap day is its last. */
static int64_t days_from_date(int year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400, year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* ".123456" as milliseconds; digits after the third are dropped. */
static bool read_fraction(const char **at, int *millis) {
    *millis = 0;
    if (**at != '.') return true;
    ++*at;
    int weight = 100;
    const char *first = *at;
    for (; **at >= '0' && **at <= '9'; ++*at, weight /= 10) *millis += weight * (**at - '0');
    return *at > first;
}

/* "Z" or "+02:00", in minutes east of UTC. */
static bool read_offset(const char **at, int *minutes) {
    int hour, minute, sign = **at == '-' ? -1 : 1;
    *minutes = 0;
    if (read_character(at, "Zz")) return true;
    if (!read_character(at, "+-") || !read_number(at, 2, &hour) || !read_character(at, ":") ||
        !read_number(at, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *minutes = sign * (hour * 60 + minute);
    return true;
}

magpie_status magpie_timestamp_parse(const char *text, int64_t *millis) {
    int year, month, day, hour, minute, second, fraction, offset;
    const char *at = text;
    bool date = read_number(&at, 4, &year) && read_character(&at, "-") && read_number(&at, 2, &month) &&
                read_character(&at, "-") && read_number(&at, 2, &day) && read_character(&at, "Tt ");
    if (!date || !read_number(&at, 2, &hour) || !read_character(&at, ":") || !read_number(&at, 2, &minute) ||
        !read_character(&at, ":") || !read_number(&at, 2, &second) || !read_fraction(&at, &fraction) ||
        !read_offset(&at, &offset) || *at)
        return magpie_fail(
            MAGPIE_E_INPUT,
            "timestamp \"%.40s\" should be seconds since 1970 or look like 2024-02-29T12:30:00Z", text);
    /* 60 is a leap second; it counts as the first of the next minute */
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return magpie_fail(MAGPIE_E_INPUT, "timestamp \"%.40s\" is a date that does not exist", text);
    int64_t seconds =
        days_from_date(year, month, day) * 86400 + hour * 3600 + (minute - offset) * 60 + second;
    *millis = seconds * 1000 + fraction;
    if (*millis < MAGPIE_TIMESTAMP_MIN || *millis > MAGPIE_TIMESTAMP_MAX)
        return magpie_fail(MAGPIE_E_INPUT, "timestamp \"%.40s\" is, in UTC, not in the years 0 to 9999",
                           text);
    return MAGPIE_OK;
}
