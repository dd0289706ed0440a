"""A portrait studio: renders people with the exact matte of every hair.

Runs in an environment of its own (`make render-env`); nothing outside this
package imports it.  `portraits` is the program, `scene` puts a photo together,
and every other module is one concern: what it may look like is drawn by its
`choose_...` function, which needs no Blender.
"""

#: Version of rendered photos, mattes and foregrounds: raise it when code or a table
#: changes them (`data_prep.common.versions`).
RENDER_VERSION = 1
