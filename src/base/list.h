/*
 * A doubly linked list whose links live inside its elements: nothing is allocated, and an element
 * can leave the list it is in without knowing which one that is.
 *
 *	struct lane { struct ob_list link; ... };
 *	struct ob_list ready;
 *
 *	ob_list_init(&ready);
 *	ob_list_push_back(&ready, &lane->link);
 *	OB_LIST_FOR_EACH(it, &ready)
 *		lane = OB_CONTAINER_OF(it, struct lane, link);
 *
 * An element that is in no list has a link that points to itself (ob_list_init), and so tells so.
 */
#ifndef OB_BASE_LIST_H
#define OB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct ob_list {
	struct ob_list *prev;
	struct ob_list *next;
};

/* The element of type `type` whose member `member` is at `pointer`. */
#define OB_CONTAINER_OF(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Walks the list from the front; the body must not remove `it` (use OB_LIST_FOR_EACH_SAFE for
 * that). */
#define OB_LIST_FOR_EACH(it, list) \
	for (struct ob_list *it = (list)->next; it != (list); it = it->next)

/* The same; the body may remove `it`, but not its successor. */
#define OB_LIST_FOR_EACH_SAFE(it, list)                                              \
	for (struct ob_list *it = (list)->next, *it##_next = it->next; it != (list); \
	     it = it##_next, it##_next = it->next)

/* An empty list, or an element that is in none. */
static inline void
ob_list_init(struct ob_list *list)
{
	list->prev = list;
	list->next = list;
}

/* True of an empty list, and of an element that is in no list. */
static inline bool
ob_list_is_empty(const struct ob_list *list)
{
	return list->next == list;
}

/* Puts `element`, which is in no list, in front of `place`. */
static inline void
ob_list_insert_before(struct ob_list *place, struct ob_list *element)
{
	element->prev = place->prev;
	element->next = place;
	place->prev->next = element;
	place->prev = element;
}

static inline void
ob_list_push_back(struct ob_list *list, struct ob_list *element)
{
	ob_list_insert_before(list, element);
}

static inline void
ob_list_push_front(struct ob_list *list, struct ob_list *element)
{
	ob_list_insert_before(list->next, element);
}

/* Takes the element out of the list it is in; nothing happens if it is in none. */
static inline void
ob_list_remove(struct ob_list *element)
{
	element->prev->next = element->next;
	element->next->prev = element->prev;
	ob_list_init(element);
}

/* The first or last element, NULL if there is none. */
static inline struct ob_list *
ob_list_first(const struct ob_list *list)
{
	return list->next == list ? NULL : list->next;
}

static inline struct ob_list *
ob_list_last(const struct ob_list *list)
{
	return list->prev == list ? NULL : list->prev;
}

/* Takes out the first element and returns it, NULL if there is none. */
static inline struct ob_list *
ob_list_pop_front(struct ob_list *list)
{
	struct ob_list *element = ob_list_first(list);

	if (element != NULL)
		ob_list_remove(element);
	return element;
}

#endif
